"""Right answers in the styles that people write: what Jupyter runs, the grader runs."""

import json
import sys

import corpus
import pytest
import torch
from classes import QUICK

T = "T = []\n"
USES = "def f(x):\n    return x + sum(T)"
# each defines f, and f(2) is 5 in Jupyter
STYLES = {
    "a list that is appended to": [T, "T.append(3)", USES],
    "in a loop": [T, "for i in range(3):\n    T.append(i)", USES],
    "in blocks": [T, "with open('/dev/null'):\n    if True:\n        T.extend([1, 2])", USES],
    "awaited": [T, "import asyncio\nawait asyncio.sleep(0)\nT.append(3)", USES],
    "an awaited value": [
        "import asyncio", "async def g():\n    return 3", "y = await g()",
        "def f(x):\n    return x + y",
    ],
    "an async for's list": [
        "async def g():\n    yield 3", "T = [i async for i in g()]", USES,
    ],
    "a dictionary that is updated": [
        "c = dict(a=1)", "c.update(a=3)", "def f(x):\n    return x + c['a']",
    ],
    "a registry of a decorator": [
        "R = {}", "def register(g):\n    R[g.__name__] = g\n    return g",
        "@register\ndef three(x):\n    return x + 3", "def f(x):\n    return R['three'](x)",
    ],
    "a registry with an argument": [
        "R = {}",
        "def register(name):\n    def put(g):\n        R[name] = g\n        return g\n"
        "    return put",
        "@register('three')\ndef g(x):\n    return x + 3", "def f(x):\n    return R['three'](x)",
    ],
    "a setup that sets globals": [
        "def setup():\n    global y\n    y = 3", "setup()", "def f(x):\n    return x + y",
    ],
    "a setup that calls another": [
        "def inner():\n    global y\n    y = 3", "def setup():\n    inner()", "setup()",
        "def f(x):\n    return x + y",
    ],
    "a helper that changes its argument": [
        T, "def fill(where, what):\n    where.append(what)", "fill(T, 3)", USES,
    ],
    "a module's function that changes its argument": [
        "import heapq", "T = [4, 3]", "heapq.heapify(T)", "def f(x):\n    return x + T[0]",
    ],
    "globals()": ["globals()['y'] = 3", "def f(x):\n    return x + y"],
    "exec": ["exec('y = 3')", "def f(x):\n    return x + y"],
    "setattr": [
        "class C:\n    pass", "setattr(C, 'y', 3)", "def f(x):\n    return x + C.y",
    ],
    "a method from outside": [
        "class C:\n    pass", "def add(self, x):\n    return x + 3", "C.add = add",
        "def f(x):\n    return C().add(x)",
    ],
    "a tensor that is filled": [
        "import torch", "t = torch.zeros(1)", "t.fill_(3)", "def f(x):\n    return x + int(t)",
    ],
    "a parameter that is initialized": [
        "import torch", "t = torch.zeros(1)", "torch.nn.init.constant_(t, 3)",
        "def f(x):\n    return x + int(t)",
    ],
    "a module's setting": [
        "import torch", "torch.set_default_dtype(torch.float64)",
        "def f(x):\n    return x + 3 if torch.zeros(1).dtype == torch.float64 else 0",
    ],
    "a path of modules": [
        "import sys", "sys.path.append('/nowhere')",
        "def f(x):\n    return x + 3 * ('/nowhere' in sys.path)",
    ],
    "no_grad": [
        "import torch", "with torch.no_grad():\n    y = torch.tensor(3)",
        "def f(x):\n    return x + int(y)",
    ],
    "a walrus": ["if (y := 3) > 2:\n    z = y", "def f(x):\n    return x + z"],
    "a match": ["match 3:\n    case y:\n        pass", "def f(x):\n    return x + y"],
    "the main module": ["if __name__ == '__main__':\n    y = 3", "def f(x):\n    return x + y"],
    "a fallback": [
        "try:\n    import nothing_of_the_kind as y\nexcept ImportError:\n    y = 3",
        "def f(x):\n    return x + y",
    ],
    "an accumulation": ["T = [1]", "T += [2]", USES],
    "all of a module": ["from math import *", "def f(x):\n    return x + floor(3.5)"],
    "a class that is called": [
        "class Answer:\n    def __call__(self, x):\n        return x + 3", "f = Answer()",
    ],
    "a lambda": ["f = lambda x: x + 3"],
    "a partial": ["import functools, operator", "f = functools.partial(operator.add, 3)"],
    "a cache": ["import functools", "@functools.lru_cache\ndef f(x):\n    return x + 3"],
    "%time": ["%time y = 3", "def f(x):\n    return x + y"],
    "%timeit -o": ["r = %timeit -n 1 -r 1 -o 1", "def f(x):\n    return x + 3"],
    "%%time": ["%%time\ndef f(x):\n    return x + 3"],
    "%%timeit with options": ["%%capture out\n%%time\ndef f(x):\n    return x + 3"],
    "%%memit": ["%%memit\ndef f(x):\n    return x + 3"],
    "%%black": ["%%black\ndef f(x):\n    return x + 3"],
    "magics in a cell": [
        "%load_ext autoreload\n%autoreload 2\n%matplotlib inline\ny = 3",
        "def f(x):\n    %config x\n    return x + y",
    ],
    "a shell's line that goes on": [
        "!pip install a \\\n  b\nimport math", "def f(x):\n    return x + math.floor(3.5)",
    ],
    "a command without its sign": ["pip install torch", "def f(x):\n    return x + 3"],
    "one among others": ["pip install torch\ny = 3", "def f(x):\n    return x + y"],
    "help": ["f?", "y = 3\nlen??", "def f(x):\n    return x + y"],
    "another language": ["%%bash\ndef f(x):", "%%writefile f.py\ndef f(x):\n    return 0",
                         "def f(x):\n    return x + 3"],
    "display within": [
        "def f(x):\n    display(x)\n    get_ipython().run_line_magic('time', '1')\n"
        "    return x + 3",
    ],
    "IPython's display": [
        "from IPython.display import display, Markdown, clear_output",
        "def f(x):\n    display(Markdown('x'))\n    clear_output()\n    return x + 3",
    ],
    "IPython's shell": [
        "from IPython import get_ipython\nget_ipython().run_line_magic('autoreload', '2')",
        "def f(x):\n    get_ipython()\n    return x + 3",
    ],
    "a progress bar": [
        "from tqdm.auto import tqdm", "def f(x):\n    return x + sum(1 for _ in tqdm(range(3)))",
    ],
    "a picture": [
        "import matplotlib.pyplot as plt",
        "def f(x):\n    plt.plot([x])\n    plt.show()\n    return x + 3",
    ],
    "torch.jit.script": [
        "import torch", "@torch.jit.script\ndef f(x: int) -> int:\n    return x + 3",
    ],
    "its own source": [
        "import inspect",
        "def f(x):\n    return x + 3 * ('own source' in inspect.getsource(f))  # own source",
    ],
    "a dataclass": [
        "from dataclasses import dataclass", "@dataclass\nclass C:\n    y: int = 3",
        "def f(x):\n    return x + C().y",
    ],
    "types by name": [
        "from __future__ import annotations", "def f(x: Later) -> Later:\n    return x + 3",
    ],
    "a later cell": ["def f(x):\n    return x + later()", "def later():\n    return 3"],
    "seeds": [
        "import torch, random\ntorch.manual_seed(0)\nrandom.seed(0)", "def f(x):\n    return x + 3",
    ],
}  # fmt: skip


def notebook(sources: list, kinds: dict[int, str] | None = None) -> bytes:
    kinds = kinds or {}
    cells = [{"cell_type": kinds.get(n, "code"), "source": text} for n, text in enumerate(sources)]
    return json.dumps({"cells": cells}).encode()


def load(worker, data: bytes) -> dict:
    order = {
        "notebook": data,
        "library": {},
        "withheld": {},
        "function": "f",
        "wanted": ["f"],
        "own": [],
    }
    return worker.load(order)


@pytest.mark.parametrize("sources", STYLES.values(), ids=STYLES)
def test_what_jupyter_runs_the_grader_runs(sources, box):
    # a cell that must not run: a training, with what the answer uses in its hands
    training = (
        "import torch, random\n"
        "def train(loss, y, T):\n    import time\n    torch.manual_seed(0)\n"
        "    with torch.random.fork_rng():\n        torch.manual_seed(1)\n        random.seed(2)\n"
        "    rows = [y]\n    rows.append(T)\n"
        "    time.sleep(600)\n    return loss\n"
        "def fit(*given, **named):\n    random.seed(0)\n    return train(*given)\n"
    )
    calls = (
        "history = train(f, 1, 2)\nfit(f, y, T)\ntrain(f, y, T)\n"
        "models = {k: fit(f, y, T) for k in range(3)}\n"
        "for _ in range(9):\n    model = fit(f, T=T)\n"
        "models['joint'] = train(f, y, T)"
    )
    with box.worker(QUICK) as worker:
        reply = load(worker, notebook([*sources, training, calls]))
        assert reply["status"] == "defined", reply
        assert worker.call("f", (2,), []) == 5, reply


def test_code_counts_before_other_cells(box):
    right, wrong = "def f(x):\n    return x + 3", "def f(x):\n    return 0"
    for kind in ("raw", "markdown"):
        for sources, kinds in (([right, wrong], {1: kind}), ([wrong, right], {0: kind})):
            with box.worker(QUICK) as worker:
                reply = load(worker, notebook(sources, kinds))
                assert worker.call("f", (2,), []) == 5
                assert reply["notes"] == []
        with box.worker(QUICK) as worker:  # no code defines it: a slip of a key
            reply = load(worker, notebook(["y = 3", right], {1: kind}))
            assert worker.call("f", (2,), []) == 5
            assert reply["notes"] == [f"cell 2 is a {kind} cell; it was read as code"]


def test_what_was_not_run_is_told_with_its_place(box):
    sources = [
        "!pip install nothing\nz = 1",
        "y = !ls",
        "def f(x):\n    return x + y[0]\n\nz = 1 / 0",
    ]
    with box.worker(QUICK) as worker:
        assert load(worker, notebook(sources))["notes"] == ["cell 2: !ls was not run"]
    with box.worker(QUICK) as worker:
        reply = load(worker, notebook(["a = 1\ny = 1 / 0", "def f(x):\n    return x + y"]))
        assert reply["notes"] == ["cell 1, line 2 failed (ZeroDivisionError: division by zero)"]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python reads such f-strings")
def test_a_newer_pythons_syntax_is_called_that():
    from mmlite.grading.guest import cells

    text = "def f(x):\n    return f'{\"a\" if x else f\"{x!r:{'>'}}\"}' + f'{'x'}'"
    (note,) = cells.read(corpus.notebook(text), {"f"}).notes
    assert "newer Pythons may read it, but this is Python 3.11" in note


# what `check` returns

DERIVED = """
import torch
from mmlite.exercises import check
def earlier(theta, w, x, y, lr):
    raise NotImplementedError
step = check("04.2", earlier)
def f(theta, w, x, y, lr):
    w = w.clone().requires_grad_()
    theta = theta.clone().requires_grad_()
    moved = step(theta, w, x=x, y=y, lr=lr)
    first = torch.autograd.grad(moved.square().sum(), (theta, w), create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), (theta, w))
    theta, w = theta.detach(), w.detach()
    by_func = torch.func.grad(lambda w: step(theta, w, x, y, lr).square().sum())(w)
    return moved.detach(), *[one.detach() for one in (*first, *second)], by_func
"""


def test_what_check_returns_is_derived_as_in_a_notebook(box):
    from mmlite.exercises import find
    from mmlite.grading.host import marking

    reference = find("04.2").reference
    given = [
        *(one.double() for one in find("04.2").draw(torch.Generator().manual_seed(0), 5)[:4]),
        0.3,
    ]
    theta, w = (one.clone().requires_grad_() for one in given[:2])
    moved = reference(theta, w, *given[2:])
    first = torch.autograd.grad(moved.square().sum(), (theta, w), create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), (theta, w))
    oracle = marking.partial(marking._oracle, find("04.3"))
    with box.worker(QUICK, oracle) as worker:
        load(worker, notebook([DERIVED]))
        got = worker.call("f", tuple(given), [])
    wanted = [moved.detach(), *first, *second, first[1]]
    for one, other in zip(got, wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)  # float64's rounding
