"""What is published: a name that is ours, a library to install, and no answers."""

import importlib.metadata
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from test_project import tracked
from without import script_without

import mmlite

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> dict[str, bytes]:
    """Build the source distribution and return its files by their names in a clone."""
    folder = tmp_path_factory.mktemp("sdist")
    (path,) = SdistBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with tarfile.open(path) as archive:
        members = [member for member in archive if member.isfile()]
        return {m.name.split("/", 1)[1]: archive.extractfile(m).read() for m in members}


def test_the_name_on_the_index_is_ours_and_what_is_imported_and_run_is_mmlite():
    assert PROJECT["name"] == "mmlite-course"  # mmlite is a parser of medical texts
    assert importlib.metadata.version(PROJECT["name"]) == mmlite.__version__
    commands = importlib.metadata.distribution(PROJECT["name"]).entry_points
    assert [(c.group, c.name, c.value) for c in commands] == [
        ("console_scripts", "mmlite", "mmlite.cli:main")
    ]


def test_nothing_tells_to_install_the_other_mmlite():
    pages = [ROOT / "README.md", ROOT / "environment.yml", *ROOT.glob("lessons/*.ipynb")]
    install = r"\b(?:pip3? install|uv add|uvx|uv tool install|--with)\b[^\n&|;`#]*?\smmlite\b(?!-)"
    for path in [*pages, *ROOT.glob("mmlite/**/*.py"), *ROOT.glob("docs/**/*.md")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(install, text), path


def test_the_wheel_holds_the_library_and_nothing_else(tmp_path):
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = zipfile.ZipFile(path).namelist()
    assert {name.split("/")[0] for name in names} == {
        "mmlite",
        f"mmlite_course-{mmlite.__version__}.dist-info",
    }
    library = {p.relative_to(ROOT).as_posix() for p in ROOT.glob("mmlite/**/*.py")}
    assert library | {"mmlite/datasets/fashion.npz"} <= set(names)


def test_the_sdist_holds_what_a_clone_does_but_the_answers(sdist):
    wanted = {n for n in tracked() if not n.startswith("solutions/") and (ROOT / n).exists()}
    assert wanted <= set(sdist)
    assert {name.split("/")[0] for name in sdist} == {n.split("/")[0] for n in wanted} | {
        "PKG-INFO"
    }


def test_no_notebook_of_the_sdist_is_a_master(sdist):
    assert not any(name.startswith("solutions") for name in sdist)
    notebooks = [name for name in sdist if name.endswith(".ipynb")]
    assert len(notebooks) == len(list((ROOT / "lessons").glob("*.ipynb")))
    for name in notebooks:
        assert not re.search(b"BEGIN (SOLUTION|HIDDEN TESTS)", sdist[name])


LIBRARY_ALONE = """
import torch
import mmlite

public = [getattr(mmlite, name) for name in mmlite.__all__]
images = mmlite.load("fashion", "train", size=64)
encoder, head = mmlite.small_conv(1, 8), mmlite.projector(8, 8, 4)
views = mmlite.TwoViews()

def loss(model, batch, generator):
    x1, x2 = views(batch, generator)
    return mmlite.nt_xent(*model(torch.cat([x1, x2])).chunk(2))

model = torch.nn.Sequential(encoder, head)
print(len(mmlite.fit(model, loss, images, epochs=1, batch_size=32).loss))
"""


def test_the_library_needs_no_package_of_the_course():
    """Who imports mmlite installs neither JupyterLab nor what draws, marks and reads notebooks."""
    lines = PROJECT["optional-dependencies"]["course"]
    course = {re.match(r"[a-z0-9]+", line)[0] for line in lines} - {"pyyaml"} | {"yaml", "IPython"}
    script = script_without(course, LIBRARY_ALONE)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2\n"
