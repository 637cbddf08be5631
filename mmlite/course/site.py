"""The site: lessons as they ran, the glossary, the library's pages; files that need no server.

Its sources are put together in a folder of their own, where links of lessons to the library's
sources lead to the library's pages; Sphinx makes the site of them.
"""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mmlite.course.notebooks import FRAMES_KEY, LessonError

# What researchers import, page by page; the lessons link to these modules.
PAGES = (
    *("data", "views", "encoders", "contrastive", "redundancy", "evaluation", "whitening"),
    *("statistics", "confounders", "mask_study", "pair_mask", "metamask.mask"),
    *(
        "metamask.gradient",
        "metamask.trainer",
        "metamask.lookahead",
        "training.fit",
        "training.checkpoints",
    ),
    *("theory", "theory.account", "theory.bounds", "distributed.collectives"),
    *("distributed.batch_norm", "experiments.recipes", "experiments.parts", "experiments.runs"),
    *("experiments.costs", "exercises.catalog"),
)
PACKAGES = ("theory",)
MATHJAX = "sphinx-mathjax-offline", "sphinx-mathjax-offline/static/mathjax/tex-svg.js"
SOURCE = re.compile(r"\]\(\.\./mmlite/([\w/]+)\.py\)")  # a link to a module
PAGE = re.compile(r"\]\(\.\./docs/(\w+\.md)\)")


def build_site(course: Path, out: Path) -> Path:
    """Build the site of a course into a folder and return its first page.

    Args:
        course: a clone, with lessons that were built.
        out: the site's folder; what an earlier build left there is replaced.

    Raises:
        LessonError: there are no lessons, `out` holds something else than a site, or Sphinx finds
            a fault, for instance a link that leads nowhere.
    """
    if not any((course / "lessons").glob("[0-9]*.ipynb")):
        raise LessonError(f"there are no lessons in {course / 'lessons'}")
    if out.exists() and any(out.iterdir()) and not (out / ".buildinfo").exists():
        raise LessonError(f"{out} holds something else than a site; name a new folder")
    with tempfile.TemporaryDirectory() as folder:
        sources, made = Path(folder) / "sources", Path(folder) / "site"
        gather(course, sources)
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
        done = subprocess.run(
            [*command, str(sources), str(made)], capture_output=True, text=True, cwd=course
        )
        if done.returncode:
            raise LessonError(f"the site could not be built:\n{done.stderr.strip()}")
        shutil.rmtree(made / ".doctrees", ignore_errors=True)
        if out.exists():
            shutil.rmtree(out)
        shutil.copytree(made, out)
    return out / "index.html"


def gather(course: Path, sources: Path) -> None:
    """Put the sources of the site together in a new folder."""
    shutil.copytree(course / "docs", sources)
    for path in sources.glob("*.md"):  # which stand a folder higher than in a clone
        text = path.read_text(encoding="utf-8").replace("](../lessons/", "](lessons/")
        path.write_text(text, encoding="utf-8")
    (sources / "lessons").mkdir()
    (sources / "api").mkdir()
    for path in sorted((course / "lessons").glob("[0-9]*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = _linked("".join(cell["source"]))
            elif cell["cell_type"] == "code":
                cell["outputs"] = _with_sliders(cell["outputs"])
        (sources / "lessons" / path.name).write_text(json.dumps(notebook), encoding="utf-8")
    for name in PAGES:
        (sources / "api" / f"{name}.rst").write_text(_page(name), encoding="utf-8")
    package, place = MATHJAX
    mathjax = importlib.metadata.distribution(package).locate_file(place)
    shutil.copy(str(mathjax), sources / "_static" / "tex-svg.js")


def _linked(text: str) -> str:
    """Return a lesson's text with its links to files of a clone leading to pages of the site."""
    text = SOURCE.sub(lambda found: f"](../api/{found[1].replace('/', '.')}.rst)", text)
    return PAGE.sub(r"](../\1)", text)


def _with_sliders(outputs: list[dict]) -> list[dict]:
    """Return a cell's outputs, where a dial's picture has its sliders and the other frames."""
    made: list[dict] = []
    for output in outputs:
        if frames := output.get("metadata", {}).get(FRAMES_KEY):
            code = json.dumps(frames).replace("<", "\\u003c")
            picture = "".join(output["data"]["text/html"])
            script = f'<script type="application/json">{code}</script>'
            output = {**output, "data": {"text/html": f'<div class="dial">{picture}{script}</div>'}}
            output["metadata"] = {}
            made.pop()  # the words in the place of the notebook's own sliders
        made.append(output)
    return made


def _page(name: str) -> str:
    """Return the source of a module's page; of a package that of its docstring alone."""
    title = f"mmlite.{name}"
    members = "" if name in PACKAGES else "   :members:\n"
    return f"{title}\n{'=' * len(title)}\n\n.. automodule:: {title}\n{members}"
