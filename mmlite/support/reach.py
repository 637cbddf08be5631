"""What a function or an object can lay its hands on: modules with buffers, random generators.

A loss may be a module, a method of an object that holds one, or a closure over it. Its memory and
its generators belong to the state of a pass, and nobody names them; so they are looked for.
"""

import functools
import types
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from torch import Tensor, nn

DEPTH = 6  # steps from where the search begins; a loss in a closure in an object takes four
MOST = 10_000  # objects looked at: a data set in a closure should not cost a training step
_ENDS = (str, bytes, int, float, complex, type(None), type, types.ModuleType, Tensor, np.ndarray)
_LIBRARIES = ("torch", "numpy", "mmlite")  # their functions hold nothing of a user's


def held_by(roots: Iterable[Any], kinds: type | types.UnionType | tuple[type, ...]) -> list[Any]:
    """Return the objects of some kinds that can be reached from roots, each once.

    Looked through are modules, containers, partial functions, methods and their objects, closures,
    default arguments, global names that a function uses, and attributes. Not looked for are
    objects that only a call makes.

    Args:
        roots: where to begin, for instance a loss function.
        kinds: as for `isinstance`.
    """
    # by id, and held, so that no id is given anew
    found: dict[int, Any] = {}
    seen: dict[int, Any] = {}
    level = list(roots)
    for _ in range(DEPTH):
        following: list[Any] = []
        for value in level:
            if isinstance(value, _ENDS) or id(value) in seen or len(seen) >= MOST:
                continue
            seen[id(value)] = value
            if isinstance(value, kinds):
                found[id(value)] = value
            if isinstance(value, nn.Module):
                level.extend(value.children())  # however deep: a network is one thing
            following.extend(_next_to(value))
        level = following
    return list(found.values())


def _next_to(value: Any) -> Iterator[Any]:
    """Yield what is one step away from an object."""
    if isinstance(value, dict):
        yield from islice(list(value.values()), MOST)
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from islice(list(value), MOST)
    elif isinstance(value, functools.partial):
        yield value.func
        yield value.args
        yield value.keywords
    elif isinstance(value, types.FunctionType):
        if (value.__module__ or "").partition(".")[0] in _LIBRARIES and not value.__closure__:
            return
        for cell in value.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # a name that has no value yet
                continue
        yield value.__defaults__
        yield value.__kwdefaults__
        names = value.__code__.co_names
        yield from [value.__globals__[name] for name in names if name in value.__globals__]
    elif isinstance(value, nn.Module):
        yield {k: v for k, v in vars(value).items() if k not in _OF_MODULES}
    else:
        yield getattr(value, "__self__", None)
        yield getattr(value, "__func__", None)
        yield getattr(value, "__dict__", None)


_OF_MODULES = vars(nn.Module()).keys()  # parameters, buffers, hooks and what else torch keeps there
