"""A worker: it holds one student's notebook and answers the grader's calls of one function.

It has nothing of the course but what the grader sends: it forgets `mmlite` and gets, in its place,
the modules that the lesson may use, without the references of the exercises that are marked.
"""

import contextlib
import importlib.abc
import importlib.machinery
import os
import sys
import types
from typing import Any

import torch

from mmlite.grading.guest import cells, notebook
from mmlite.grading.guest.asking import Asker
from mmlite.grading.wire import Channel, ClosedError

UNDEFINED = "undefined"
PEERS = ("lightly",)  # packages that developers install, and that hold answers


def work(read_fd: int, write_fd: int) -> None:
    """Load a notebook, then answer calls until the grader goes."""
    torch.set_num_threads(1)
    channel = Channel(*_keep_only(read_fd, write_fd))
    with contextlib.suppress(ClosedError):
        channel.send({"ready": True})
        order = channel.receive(max_bytes=1 << 30)
        asker = Asker(channel)
        _replace_mmlite(order["library"], order["withheld"], asker)
        asker.own, asker.nonce = order["own"], order["nonce"]  # a cell may call what it checked
        namespace, reply = _load(order)
        channel.send({"nonce": order["nonce"], **reply})
        del order
        while True:
            request = channel.receive()
            asker.own, asker.nonce = request["own"], request["nonce"]
            _reply(channel, request["nonce"], _answer(namespace, request))


def _keep_only(read_fd: int, write_fd: int) -> tuple[int, int]:
    """Close every file but the channel's; standard streams lead nowhere."""
    kept = sorted({read_fd, write_fd})
    moved = {fd: os.dup2(fd, 100 + place, inheritable=False) for place, fd in enumerate(kept)}
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    os.closerange(3, 100)

    def last(fd: int) -> int:
        return os.dup2(moved[fd], 3 + kept.index(fd), inheritable=False)

    return last(read_fd), last(write_fd)


def _load(order: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the namespace in which the answer is defined, and what there is to tell."""
    name, wanted = order["function"], set(order["wanted"])
    namespace: dict[str, Any] = {"__name__": "__main__", **_stand_ins()}
    try:
        source = cells.read(order["notebook"], wanted)
    except cells.NotebookError as error:
        return namespace, {"status": "not a notebook", "notes": [str(error)], "defined": []}
    except (MemoryError, RecursionError):
        sentence = "the file is too large or nested too deeply to be read"
        return namespace, {"status": "not a notebook", "notes": [sentence], "defined": []}
    statements = notebook.statements(source)
    present = notebook.defined(statements)
    chosen, unsure = notebook.needed(statements, name) if name in present else ([], [])
    alike = notebook.alike(chosen, name)
    failed = notebook.run(chosen, namespace, unsure)
    notes = source.notes + [
        f"cell {one.cell}, line {one.node.lineno} failed ({error})" for one, error in failed
    ]
    notes += [f"cell {cell}: {line} was not run" for cell, line in notebook.left_out(chosen)]
    broken = [cell for cell, text in source.broken.items() if f"def {name}" in text]
    status = (
        "defined" if name in namespace else "broken" if name in present or broken else UNDEFINED
    )
    reply = {"status": status, "notes": [note[:300] for note in notes[:20]], "alike": alike}
    return namespace, {**reply, "defined": sorted(present & wanted)}


class _Silent:
    """Stands for IPython's shell and all its parts: magics and commands do nothing."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *arguments, **named):
        return None


def _stand_ins() -> dict[str, Any]:
    """Return what Jupyter puts into each notebook, and have IPython say the same."""
    shell = _Silent()
    with contextlib.suppress(ImportError):
        import IPython

        for place in (IPython, IPython.core.getipython):
            vars(place)["get_ipython"] = lambda: shell
    return {"display": lambda *shown, **named: None, "get_ipython": lambda: shell}


def _answer(namespace: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """Call the student's function; its arguments go back too, for it may have changed them."""
    arguments = request["arguments"]
    try:
        result = namespace[request["function"]](*arguments)
        return {"result": result, "arguments": arguments}
    # an answer may raise anything, SystemExit too; the grader is told which
    except BaseException as error:
        kind = "NotImplementedError" if isinstance(error, NotImplementedError) else None
        return {"error": kind or type(error).__name__, "message": notebook.message(error)[:500]}


def _reply(channel: Channel, nonce: int, reply: dict[str, Any]) -> None:
    try:
        channel.send({"nonce": nonce, **reply})
    except ClosedError:
        raise
    # a result that cannot be sent, say a tensor that lives nowhere, is the answer's fault
    except Exception as error:
        sentence = f"the result cannot be sent ({notebook.describe(error)})"
        channel.send({"nonce": nonce, "error": "Unsendable", "message": sentence})


def _replace_mmlite(library: dict[str, str], withheld: dict[str, str], asker: Asker) -> None:
    """Forget the real `mmlite`, and import what the grader sent in its place."""
    for name in [name for name in sys.modules if name.split(".")[0] == "mmlite"]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Library(library, withheld, asker))


class _Library(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `mmlite` in what the grader sent: sources, and names that are withheld.

    A withheld name can be imported, so that an import costs no other answer; calling it says why it
    is not there.
    """

    def __init__(self, library: dict[str, str], withheld: dict[str, str], asker: Asker):
        self.library, self.withheld, self.asker = library, withheld, asker

    def find_spec(self, name: str, path=None, target=None):
        package = name.split(".")[0]
        if package in PEERS:
            sentence = f"{package} holds answers; it is not there while a lesson is graded"
            raise ModuleNotFoundError(sentence, name=name)
        if package != "mmlite":
            return None
        # any of them may have parts, those that are withheld too
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        name = module.__name__
        if name in self.library:
            exec(compile(self.library[name], name, "exec"), module.__dict__)
        else:
            vars(module)["__getattr__"] = lambda attribute: self._withheld(f"{name}.{attribute}")
        if name == "mmlite.exercises":
            vars(module).update(check=self.asker.check, grade=lambda *arguments: None)

    def _withheld(self, name: str):
        attribute = name.rpartition(".")[2]
        if attribute.startswith("__"):
            raise AttributeError(name)
        sentence = (
            self.withheld.get(name)
            or self.withheld.get(attribute)
            or (f"{name} is not there while this lesson is graded")
        )

        def withheld(*arguments, **named):
            raise RuntimeError(sentence)

        return withheld
