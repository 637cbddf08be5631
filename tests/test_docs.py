"""The site's own pages: the glossary's names and the equations' are the library's."""

import importlib
import inspect
import re
from pathlib import Path

import links
import pytest

import mmlite

ROOT = Path(__file__).resolve().parents[1]
# what a lesson's reader meets: the ideas; what trains and checks has its own words
IDEAS = ("data", "views", "encoders", "contrastive", "redundancy", "evaluation", "statistics")
IDEAS += ("whitening", "confounders", "mask_study", "pair_mask", "metamask", "theory")
GENERAL = {"seed", "batch_size"}  # of the trade, not of an idea


def rows() -> list[list[str]]:
    """Return the glossary's rows: term, symbol, names in code, meaning."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    tables = [line.strip("|\n").split("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in tables]
    return [row for row in cells if row[0] != "term" and not set(row[0]) <= {"-"}]


def in_code() -> list[str]:
    return [name for row in rows() for name in re.findall(r"`(\w+)`", row[2])]


def names_of_ideas() -> set[str]:
    """Return the public names of the ideas, and all their arguments."""
    found = set()
    for name in mmlite.__all__:
        if mmlite._HOME[name] in IDEAS:
            found |= {name, *inspect.signature(getattr(mmlite, name)).parameters}
    return found


def test_every_name_of_an_idea_is_in_the_glossary_and_every_name_there_is_one():
    assert set(in_code()) == names_of_ideas() - GENERAL


def test_the_glossary_says_a_thing_once_and_in_a_line():
    assert len(in_code()) == len(set(in_code()))
    terms = [row[0] for row in rows()]
    assert len(terms) == len(set(terms))
    for row in rows():
        assert len(row) == 4, row
        assert 10 <= len(row[3]) <= 160, row


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/**/*.md")), ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page):
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert link.startswith("https://") or (page.parent / link).exists(), link


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    assert links.leading_nowhere(text, page.parent) == []
    assert links.unlinked_preprints(text) == []


def equations() -> list[list[str]]:
    """Return the rows of the table of equations: equation, source, function, test."""
    text = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    # a bar within a formula is no border
    return [[cell.strip() for cell in re.split(r"(?<!\\) \| ", line.strip("| "))] for line in lines]


def test_each_equation_names_a_function_and_a_test_that_are_there():
    rows = equations()
    assert len(rows) >= 20
    for equation, source, function, test in rows:
        assert equation
        assert source
        module, _, name = function.strip("`").rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))
        path, _, wanted = test.strip("`").partition("::")
        assert f"def {wanted}(" in (ROOT / path).read_text(encoding="utf-8"), test


def test_each_docstring_that_cites_an_equation_has_a_row():
    known = {row[2].strip("`").rpartition(".")[2] for row in equations()}
    for name in mmlite.__all__:
        told = getattr(mmlite, name).__doc__ or ""
        if re.search(r"\b(equation|definition|theorem) \d", " ".join(told.split())):
            assert name in known, name
