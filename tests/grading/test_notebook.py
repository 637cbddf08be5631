"""What of a student's notebook is run."""

import corpus

from mmlite.grading import cells, notebook


def read(*sources: str, name: str = "f") -> list[notebook.Statement]:
    return notebook.statements(cells.read(corpus.notebook(*sources), {name}))


def needs(*sources: str, name: str = "f") -> list[str]:
    found = read(*sources, name=name)
    return [notebook.ast.unparse(s.node).split("\n")[0] for s in notebook.needed(found, name)]


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
    namespace = {}
    ((_, error),) = notebook.run(notebook.needed(found, "f"), namespace)
    assert error.startswith("SyntaxError: not a chance")
    assert namespace["f"].__annotations__ == {"x": "NeverDefined", "return": "Nowhere"}


def test_definitions_inside_statements_count_and_the_last_one_holds():
    found = read(
        "try:\n    import g\nexcept ImportError:\n    g = 1",
        "def f():\n    return g",
        "if True:\n    def f():\n        return g + 1",
    )
    namespace = {}
    assert notebook.run(notebook.needed(found, "f"), namespace) == []
    assert namespace["f"]() == 2
