"""A dial on the third day: what JupyterLab drops from a notebook's widgets is kept.

JupyterLab saves the state of those widgets that its kernel made. One who opens a notebook the next
day and saves it before each dial's cell has run again would lose the others' state, and with it
the dials: "Error displaying widget: model not found" (ipywidgets issue 3270).
"""

import json
import re
from pathlib import Path
from typing import Any

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
REFERENCE = re.compile(r'"IPY_MODEL_([^"]+)"')  # how a widget's state names another widget

States = dict[str, dict[str, Any]]  # of each widget by its id


def keep_widget_state(model: dict[str, Any], path: str, contents_manager: Any, **_: object) -> None:
    """Put back what a notebook still shows, and a save would drop (a hook before saving).

    Args:
        model: Jupyter's, of what is to be saved.
        path: the notebook's, from the server's folder.
        contents_manager: Jupyter's, that saves it.
    """
    before = Path(contents_manager.root_dir, path.strip("/"))
    if model["type"] != "notebook" or not before.is_file():
        return
    notebook = model["content"]
    try:
        old = json.loads(before.read_text(encoding="utf-8"))
    except ValueError:  # broken by hand, say: it has nothing to give
        return
    if kept := still_shown(notebook, states_of(old)):
        widgets = notebook["metadata"].setdefault("widgets", {})
        bundle = widgets.setdefault(STATE, {"version_major": 2, "version_minor": 0})
        bundle["state"] = kept | bundle.get("state", {})


def states_of(notebook: dict[str, Any]) -> States:
    """Return the states of widgets that a notebook holds."""
    return notebook["metadata"].get("widgets", {}).get(STATE, {}).get("state", {})


def still_shown(notebook: dict[str, Any], states: States) -> States:
    """Return the states of the widgets that a notebook's outputs show, and of all their parts."""
    outputs = [one for cell in notebook["cells"] for one in cell.get("outputs", [])]
    views = [one["data"][VIEW] for one in outputs if VIEW in one.get("data", {})]
    shown: States = {}
    wanted = [view["model_id"] for view in views]
    while wanted:
        name = wanted.pop()
        if name in states and name not in shown:
            shown[name] = states[name]
            wanted += REFERENCE.findall(json.dumps(states[name]))
    return shown
