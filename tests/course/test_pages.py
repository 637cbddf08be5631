"""A lesson as a page: its headings, its links, and lines that fit."""

import re
from pathlib import Path

import links
import pytest

from mmlite.course import notebooks
from mmlite.exercises import all_exercises

ROOT = Path(__file__).resolve().parents[2]
MASTERS = sorted((ROOT / "solutions").glob("*.ipynb"))
# they are read in this order: 07 is optional and comes last
ORDER = [path.stem for path in MASTERS]
EACH = pytest.mark.parametrize("path", MASTERS, ids=lambda path: path.name)
WIDEST_OUTPUT, WIDEST_CODE = 90, 100  # columns that JupyterLab shows at 1440 pixels, side bar open


def texts(path: Path) -> list[str]:
    return [c.source for c in notebooks.read_notebook(path).cells if c.cell_type == "markdown"]


@EACH
def test_exercises_stand_in_the_table_of_contents(path):
    # JupyterLab makes it of headings, and not of those within a quotation
    whole = "\n".join(texts(path))
    assert re.findall(r"^> *#", whole, flags=re.MULTILINE) == []
    assert len(re.findall(r"^### ✏️ Exercise \d\d\.\d+ · ", whole, flags=re.MULTILINE)) >= 5


@EACH
def test_a_lesson_links_to_all_others_that_there_are_and_says_which_it_is(path):
    row = next(line for line in texts(path)[0].splitlines() if " → " in line)
    for name in ORDER:
        assert (f"]({name}.ipynb)" in row) is (name != path.stem), name
    assert f"**{path.stem.replace('_', ' ')}**" in row
    assert [int(number) for number in re.findall(r"(\d\d) [a-z]+", row)] == sorted(
        int(name[:2]) for name in ORDER
    )


@EACH
def test_it_ends_with_what_comes_before_and_after(path):
    place = ORDER.index(path.stem)
    around = {f"{ORDER[i]}.ipynb" for i in (place - 1, place + 1) if 0 <= i < len(ORDER)}
    last = texts(path)[-1]
    assert set(re.findall(r"\]\((\d\d_\w+\.ipynb)\)", last)) >= around


@EACH
def test_links_lead_somewhere(path):
    assert links.leading_nowhere("\n".join(texts(path)), path.parent) == []


@EACH
def test_every_preprint_is_linked(path):
    assert links.unlinked_preprints("\n".join(texts(path))) == []


@EACH
def test_outputs_fit_on_the_page(path):
    for cell in notebooks.code_cells(notebooks.read_notebook(path)):
        for output in cell.outputs:
            for line in output.get("text", "").splitlines():
                assert len(line) <= WIDEST_OUTPUT, (cell.id, line)


@EACH
def test_code_fits_on_the_page(path):
    for cell in notebooks.code_cells(notebooks.read_notebook(path)):
        for line in cell.source.splitlines():
            assert len(line) <= WIDEST_CODE, (cell.id, line)


@EACH
def test_the_readmes_row_says_what_the_lesson_says(path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    row = next(line for line in readme.splitlines() if f"(lessons/{path.name})" in line)
    seconds, count, minutes = map(
        int, re.search(r"\| (\d+) s \| (\d+), about (\d+) min", row).groups()
    )
    declared = [e for e in all_exercises().values() if e.id.startswith(path.name[:2])]
    assert seconds == int(re.search(r"\*\*Cost:\*\* about (\d+) s", texts(path)[0])[1])
    assert (count, minutes) == (len(declared), sum(e.minutes for e in declared))


@EACH
def test_a_lesson_names_what_it_built_in_the_library(path):
    last = texts(path)[-1]
    assert "**In the library:**" in last
    assert len(re.findall(r"\]\(\.\./mmlite/", last)) >= 5
