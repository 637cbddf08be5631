"""What a save would drop of a notebook's widgets, put back; in a browser: tests/browser."""

import json
from types import SimpleNamespace

import pytest

from mmlite.course.widget_state import STATE, VIEW, keep_widget_state

OLD = {
    "box": {"state": {"children": ["IPY_MODEL_slider"], "layout": "IPY_MODEL_layout"}},
    "slider": {"state": {"value": 2, "style": "IPY_MODEL_style"}},
    "style": {"state": {}},
    "layout": {"state": {"box": "IPY_MODEL_box"}},  # one that leads back
    "other": {"state": {}},
}


def notebook(*shown: str, states: dict | None = None) -> dict:
    outputs = [{"data": {VIEW: {"model_id": name}, "text/plain": "a dial"}} for name in shown]
    cells = [
        {"cell_type": "markdown", "source": "words"},
        {"cell_type": "code", "outputs": [{"output_type": "stream", "text": "printed"}, *outputs]},
    ]
    widgets = {} if states is None else {"widgets": {STATE: {"state": states}}}
    return {"cells": cells, "metadata": widgets}


def saved(tmp_path, old: str, new: dict, kind: str = "notebook") -> dict:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "01.ipynb").write_text(old)
    manager = SimpleNamespace(root_dir=str(tmp_path))
    # the path as Jupyter gives it, with a slash or without
    keep_widget_state({"type": kind, "content": new}, "/work/01.ipynb", manager)
    return new["metadata"].get("widgets", {}).get(STATE, {}).get("state", {})


def test_a_shown_widget_and_its_parts_are_kept(tmp_path):
    kept = saved(tmp_path, json.dumps(notebook("box", states=OLD)), notebook("box"))
    assert kept == {name: OLD[name] for name in ("box", "slider", "style", "layout")}


def test_what_is_to_be_saved_goes_before_what_was(tmp_path):
    new = {"slider": {"state": {"value": 3}}, "fresh": {"state": {}}}
    shown = notebook("box", "fresh", states=new)
    kept = saved(tmp_path, json.dumps(notebook("box", states=OLD)), shown)
    assert kept["slider"] == {"state": {"value": 3}}
    assert set(kept) == {"box", "slider", "style", "layout", "fresh"}


def test_what_is_no_longer_shown_goes(tmp_path):
    new = {"fresh": {"state": {}}}
    shown = notebook("fresh", states=new)
    assert saved(tmp_path, json.dumps(notebook("box", states=OLD)), shown) == new


@pytest.mark.parametrize("old", ["", "<<<<<<< a conflict", json.dumps(notebook("box"))])
def test_an_old_file_that_has_nothing_to_give(tmp_path, old):
    assert saved(tmp_path, old, notebook("box")) == {}


def test_another_kind_of_file_is_left_alone(tmp_path):
    old = json.dumps(notebook("box", states=OLD))
    assert saved(tmp_path, old, notebook("box"), kind="file") == {}


def test_a_first_save(tmp_path):
    new = notebook("box")
    manager = SimpleNamespace(root_dir=str(tmp_path))
    keep_widget_state({"type": "notebook", "content": new}, "01.ipynb", manager)
    assert new == notebook("box")
