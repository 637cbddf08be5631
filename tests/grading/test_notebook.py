"""What of a student's notebook is run."""

import ast
import re

import corpus
import pytest
from classes import ROOT

from mmlite.exercises import all_exercises
from mmlite.grading.guest import cells, notebook


def read(*sources: str, name: str = "f") -> list[notebook.Statement]:
    return notebook.statements(cells.read(corpus.notebook(*sources), {name}))


def needs(*sources: str, name: str = "f") -> list[str]:
    found = read(*sources, name=name)
    return [ast.unparse(s.node).split("\n")[0] for s in notebook.needed(found, name)[0]]


def run(found: list[notebook.Statement]) -> tuple[list, dict]:
    (chosen, unsure), namespace = notebook.needed(found, "f"), {}
    return notebook.run(chosen, namespace, unsure), namespace


def test_only_what_an_answer_needs_is_run():
    assert needs(
        "import os, torch\nfrom math import *",
        "train = load()\nz = train.z",
        "eps = tiny(3)",
        "def helper(x):\n    return x + eps",
        "def f(x):\n    z = x\n    return helper(z) + torch.pi",
        "print(f(train))",
        "unused = f(1)",
    ) == [
        "import os, torch",
        "from math import *",
        "eps = tiny(3)",
        "def helper(x):",
        "def f(x):",
    ]


def test_setting_an_item_or_an_attribute_counts_as_binding():
    assert needs(
        "table, config = [0, 0], Config()",
        "table[1] = 5",
        "config.a.eps = 3\nconfig.steps[0] += 1",
        "(table[0], other), *rest = parts()",
        "def helper(x):\n    table[0] = 1",
        "elsewhere[table[0]] = 7",
        "def f(x):\n    return table[x] + config.a.eps",
        "def parts():\n    return (1, 2), 3",
        "for table[1] in range(3):\n    pass",
    ) == [
        "table, config = ([0, 0], Config())",
        "table[1] = 5",
        "config.a.eps = 3",
        "config.steps[0] += 1",
        "(table[0], other), *rest = parts()",
        "def f(x):",
        "def parts():",
        "for table[1] in range(3):",
    ]


def test_a_future_import_holds_for_all_cells():
    found = read(
        "from __future__ import annotations",
        "def f(x: NeverDefined) -> Nowhere:\n    return x",
        "from __future__ import braces",
    )
    ((_, error),), namespace = run(found)
    assert error.startswith("SyntaxError: not a chance")
    assert namespace["f"].__annotations__ == {"x": "NeverDefined", "return": "Nowhere"}


def test_definitions_inside_statements_count_and_the_last_one_holds():
    found = read(
        "try:\n    import g\nexcept ImportError:\n    g = 1",
        "def f():\n    return g",
        "if True:\n    def f():\n        return g + 1",
    )
    failed, namespace = run(found)
    assert failed == []
    assert namespace["f"]() == 2


def test_what_may_not_be_needed_gets_a_moment_and_no_more():
    found = read(
        "T, U = [3], {}",
        "T.append(spin)",  # may be needed, and does not end
        "U.update(a=4)",
        "def f():\n    return T, U",
    )
    endless = ast.parse("while True:\n    try:\n        pass\n    except Exception:\n        pass")
    found[1].node = endless.body[0]
    failed, namespace = run(found)
    assert [(one.cell, error) for one, error in failed] == [
        (2, "it took too long, and the answer seems not to need it")
    ]
    assert namespace["f"]() == ([3], {"a": 4})


def test_together_they_get_no_more_than_some_moments():
    found = read("T = [3]", *["T.append(1)"] * 40, "def f():\n    return T")
    for one in found[1:-1]:
        one.node = ast.parse("while True:\n    pass").body[0]
    failed, namespace = run(found)
    assert len(failed) == 40
    assert namespace["f"]() == [3]


CHEAP = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


@pytest.mark.parametrize("exercise", all_exercises().values(), ids=lambda exercise: exercise.id)
def test_no_answer_of_a_master_waits_for_a_training(exercise):
    (path,) = (ROOT / "solutions").glob(f"{exercise.id[:2]}_*.ipynb")
    found = notebook.statements(cells.read(path.read_bytes(), {exercise.function}))
    chosen, _ = notebook.needed(found, exercise.function)
    rest = [ast.unparse(one.node) for one in chosen if not isinstance(one.node, CHEAP)]
    assert all(re.search(r"= check\(|device =|torch.manual_seed\(", text) for text in rest), rest
