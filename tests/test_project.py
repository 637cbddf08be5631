"""The project's own promises: pins, formatting, the README's code, the layout."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from imports import imported
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return listed.stdout.splitlines()


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff_has_nothing_to_say(arguments):
    command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_public_modules_types_hold(tmp_path):
    # against one torch: what another declares of itself is not ours to say
    pins = (ROOT / "environment.yml").read_text(encoding="utf-8")
    pinned = re.search(r"torch==([\d.]+)", pins)[1]
    if version("torch").partition("+")[0] != pinned:
        pytest.skip(f"types are checked with torch {pinned}")
    command = [sys.executable, "-m", "mypy", f"--cache-dir={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_pins_of_conda_are_within_the_projects_bounds_and_complete():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    from_pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    pins = {}
    for line in from_pip:
        if line.startswith("-e"):
            assert line == "-e ."
            continue
        name, version = re.fullmatch(r"([a-z0-9-]+)==([0-9.]+)", line).groups()
        pins[name] = version
    extra = PROJECT["project"]["optional-dependencies"]["course"]
    groups = PROJECT["dependency-groups"]
    tests = [one for one in groups["test"] if isinstance(one, str)]
    wanted = [*PROJECT["project"]["dependencies"], *extra, *groups["docs"], *tests]
    requirements = [Requirement(line) for line in wanted]
    assert set(pins) == {r.name for r in requirements}
    for requirement in requirements:
        assert requirement.specifier.contains(pins[requirement.name]), requirement
    (python,) = (d for d in environment["dependencies"] if str(d).startswith("python="))
    python = python.removeprefix("python=")
    assert Requirement(f"python{PROJECT['project']['requires-python']}").specifier.contains(python)
    # and the one that the stored outputs were made with
    notebooks = [*ROOT.glob("lessons/*.ipynb"), *ROOT.glob("solutions/*.ipynb")]
    written = [json.loads(path.read_text(encoding="utf-8")) for path in notebooks]
    versions = {one["metadata"]["language_info"]["version"] for one in written}
    assert {".".join(version.split(".")[:2]) for version in versions} == {python}


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_python_of_readme_and_pages_runs(tmp_path):
    texts = [path.read_text(encoding="utf-8") for path in PAGES]
    blocks = [b for text in texts for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]
    assert len(blocks) >= 2
    for block in blocks:
        assert len(block.splitlines()) <= 16
        command = [sys.executable, "-c", block]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert re.search(r"\d", done.stdout)


def test_every_file_and_command_that_readme_and_pages_name_exists():
    named = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert link.startswith("https://") or (page.parent / link).exists(), link
        named |= set(re.findall(r"benchmarks/\w+\.py", text))
    scripts = {f"benchmarks/{path.name}" for path in (ROOT / "benchmarks").glob("*.py")}
    assert named <= scripts
    assert scripts - named <= {"benchmarks/common.py"}  # each has its row


def test_the_command_line_of_readme_and_pages_is_understood():
    from mmlite.cli import command_line

    commands = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
            commands |= set(re.findall(r"(?:uv run|-m|&&) (mmlite [^#\n&|]*)", block))
    assert len(commands) >= 10
    for command in sorted(commands):
        own, _ = command_line.lab.split(command.split()[1:])
        command_line.parser().parse_args(own)


def test_the_readmes_costs_are_the_lessons():
    from mmlite.course.notebooks import read_notebook

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "lessons").glob("*.ipynb")):
        told = int(re.search(rf"\({path.parent.name}/{path.name}\).*?\| (\d+) s", readme)[1])
        seconds = read_notebook(path).metadata.mmlite.seconds
        assert seconds / 2 <= told <= 2 * seconds


def test_the_tests_mirror_the_library():
    tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
    tests |= {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert parts() - {"datasets"} <= tests


# each imports only from itself and those before it
ORDER = [
    *("support", "distributed", "datasets", "data", "views", "encoders", "contrastive"),
    *("redundancy", "evaluation", "whitening", "statistics", "confounders", "mask_study"),
    "pair_mask",
    *("metamask", "training", "theory", "experiments", "course", "exercises", "grading", "cli"),
]


def parts() -> set[str]:
    """Return the names of the library's files and packages."""
    files = {path.stem for path in (ROOT / "mmlite").glob("[a-z]*.py")}
    return files | {path.parent.name for path in (ROOT / "mmlite").glob("*/__init__.py")}


def imported_by(path: Path) -> set[str]:
    return imported(path.read_text(encoding="utf-8")) - {"mmlite"}


def files_of(*place: str) -> list[Path]:
    path = ROOT.joinpath("mmlite", *place)
    return sorted(path.rglob("*.py")) or [path.with_suffix(".py")]


@pytest.mark.parametrize("name", ORDER)
def test_a_part_imports_only_from_those_before_it(name):
    ours = {one.split(".")[1] for path in files_of(name) for one in imported_by(path)}
    assert ours - {name, "__version__"} <= set(ORDER[: ORDER.index(name)])


def test_the_order_is_of_all_parts():
    assert parts() == set(ORDER)


def test_what_runs_beside_an_answer_imports_nothing_that_holds_one():
    for path in [*files_of("grading", "guest"), *files_of("grading", "wire")]:
        for name in imported_by(path):
            assert name.startswith(("mmlite.grading.guest.", "mmlite.grading.wire")), (path, name)


def test_a_file_holds_one_concept():
    table = "tests/test_arguments.py"  # a row for each public function and class
    paths = [path for path in tracked() if path.endswith((".py", ".pyi")) and path != table]
    lines = {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in paths}
    assert {path: count for path, count in lines.items() if count > 400} == {}


def test_nothing_large_and_no_lock_file_is_tracked():
    files = tracked()
    assert "uv.lock" not in files
    for name in files:
        path = ROOT / name
        assert not path.exists() or path.stat().st_size <= 6_000_000, name


def test_every_public_name_is_documented_and_there():
    import mmlite

    for name in mmlite.__all__:
        thing = getattr(mmlite, name)
        assert thing.__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mmlite.nothing
    assert set(mmlite.__all__) <= set(dir(mmlite))


def test_type_checkers_see_what_is_found_lazily():
    import mmlite

    stub = ast.parse((ROOT / "mmlite" / "__init__.pyi").read_text(encoding="utf-8"))
    seen = {
        alias.asname: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    lazy = {name: f"mmlite.{home}" for name, home in mmlite._HOME.items()}
    assert seen == lazy | dict.fromkeys(mmlite._MODULES, "mmlite")
    assert (ROOT / "mmlite" / "py.typed").exists()


def test_modules_are_there_without_an_import_of_their_own():
    names = sorted(parts())
    code = "import mmlite\n" + "".join(f"assert mmlite.{name}.__doc__\n" for name in names)
    code += f"assert set({names!r}) <= set(dir(mmlite))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import mmlite; dir(mmlite)", ["torch", "numpy", "scipy"]),
        ("import mmlite.evaluation, mmlite.confounders", ["scipy", "torchvision", "matplotlib"]),
        ("import mmlite; mmlite.fit", ["scipy", "torchvision", "matplotlib"]),
        ("import mmlite.experiments.runs", ["scipy", "matplotlib", "nbformat"]),
        ("import mmlite.course.notebooks", ["torch", "nbformat", "nbclient"]),
    ],
)
def test_an_import_brings_only_what_it_needs(code, unwanted):
    code = f"import sys; {code}; print([n for n in {unwanted!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
