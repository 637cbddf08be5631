"""Small faults put into a function, one at a time: what a wrong answer that looks right has."""

import ast
import copy
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import Any

OPERATORS = {
    ast.Add: (ast.Sub, ast.Mult), ast.Sub: (ast.Add,), ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult,), ast.Pow: (ast.Mult,), ast.FloorDiv: (ast.Div,), ast.Mod: (ast.FloorDiv,),
    ast.MatMult: (), ast.BitAnd: (ast.BitOr,), ast.BitOr: (ast.BitAnd,),
}  # fmt: skip
COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,),
}  # fmt: skip
# methods and functions that stand for each other in a slip, and those that can be forgotten
SWAPPED = {
    "mean": ("sum",), "sum": ("mean",), "max": ("min",), "min": ("max",), "argmax": ("argmin",),
    "square": ("abs",), "std": ("var",), "var": ("std",), "exp": ("tanh",), "log": ("sqrt",),
    "softmax": ("log_softmax",), "log_softmax": ("softmax",), "ones_like": ("zeros_like",),
    "zeros_like": ("ones_like",), "amax": ("amin",), "cumsum": ("cumprod",), "sqrt": ("square",),
}  # fmt: skip
FORGOTTEN = {
    "normalize", "square", "abs", "sqrt", "exp", "log", "clamp", "clamp_min", "flip",
    "masked_fill", "fill_diagonal_", "contiguous", "detach", "float", "double",
}  # fmt: skip
MODULES = {"torch", "F", "math", "np"}


def mutants(function: Callable[..., Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Return a function's mutants, and those that come of a helper's, each with what was done."""
    for said, mutant in _of(function, function.__globals__):
        yield f"{function.__name__}, {said}", mutant
    for helper in _helpers(function):
        for said, mutant in _of(helper, function.__globals__):
            scope = {**function.__globals__, helper.__name__: mutant}
            again = types.FunctionType(
                function.__code__, scope, function.__name__, function.__defaults__,
                function.__closure__,
            )  # fmt: skip
            yield f"{helper.__name__}, {said}", again


def _helpers(function: Callable[..., Any]) -> list[Callable[..., Any]]:
    """Return the functions that a function's own code calls by name, of its module or package."""
    named = (function.__globals__.get(name) for name in function.__code__.co_names)
    return [
        one
        for one in named
        if isinstance(one, types.FunctionType) and _place(one) == _place(function)
    ]


def _place(function: Callable[..., Any]) -> str:
    package, _, module = function.__module__.rpartition(".")
    return package or module


def _of(function: Callable[..., Any], scope: dict) -> Iterator[tuple[str, Callable[..., Any]]]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    (definition,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    definition.decorator_list = []
    for place in range(sum(1 for _ in ast.walk(definition))):
        for kind in range(8):
            mutant = copy.deepcopy(tree)
            node = list(ast.walk(mutant.body[0]))[place]
            said = _change(mutant, node, kind)
            if said is None:
                continue
            ast.fix_missing_locations(mutant)
            made = dict(scope)
            exec(compile(mutant, f"<mutant of {function.__name__}>", "exec"), made)
            yield f"line {getattr(node, 'lineno', 0)}: {said}", made[definition.name]


def _change(tree: ast.AST, node: ast.AST, kind: int) -> str | None:
    """Change one node in its kind-th way; return what was done, or None if there is no such way."""
    match node:
        case ast.BinOp(op=op):
            ways = [*OPERATORS.get(type(op), ()), "left", "right"]
            if kind < len(ways):
                way = ways[kind]
                if isinstance(way, str):
                    _put(tree, node, getattr(node, way))
                    return f"{type(op).__name__}: only its {way} side"
                node.op = way()
                return f"{type(op).__name__} becomes {way.__name__}"
        case ast.Compare(ops=[op]):
            ways = COMPARISONS.get(type(op), ())
            if kind < len(ways):
                node.ops = [ways[kind]()]
                return f"{type(op).__name__} becomes {ways[kind].__name__}"
        case ast.UnaryOp(op=ast.USub()) if kind == 0:
            _put(tree, node, node.operand)
            return "a sign less"
        case ast.Constant(value=value) if type(value) in (int, float):
            ways = [value + 1, value - 1, 2 * value] if value else [1, -1]
            if kind < len(ways):
                node.value = ways[kind]
                return f"{value} becomes {ways[kind]}"
        case ast.Constant(value=bool(value)) if kind == 0:
            node.value = not value
            return f"{value} becomes {not value}"
        case ast.Call():
            return _change_call(tree, node, kind)
        case ast.Attribute(attr="T" | "mT") if kind == 0:
            _put(tree, node, node.value)
            return "no transposition"
        case ast.IfExp() if kind < 2:
            _put(tree, node, node.body if kind == 0 else node.orelse)
            return f"only the {'if' if kind == 0 else 'else'}"
    return None


def _change_call(tree: ast.AST, node: ast.Call, kind: int) -> str | None:
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    on = node.func.value if isinstance(node.func, ast.Attribute) else None
    is_method = on is not None and not (
        isinstance(on, ast.Name) and on.id in ("torch", "F", "math")
    )
    inner = on if is_method else node.args[0] if node.args else None
    if kind == 0 and name in SWAPPED:
        other = SWAPPED[name][0]
        if isinstance(node.func, ast.Attribute):
            node.func.attr = other
        else:
            node.func.id = other
        return f"{name} becomes {other}"
    if kind == 1 and name in FORGOTTEN and inner is not None:
        _put(tree, node, inner)
        return f"{name} forgotten"
    if kind == 2 and len(node.args) >= 2:
        node.args[0], node.args[1] = node.args[1], node.args[0]
        return f"{name}: its first two arguments swapped"
    if 3 <= kind < 3 + len(node.keywords):
        gone = node.keywords.pop(kind - 3)
        return f"{name} without {gone.arg}"
    return None


def _put(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    """Put a node in another's place."""
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
            elif isinstance(value, list) and old in value:
                value[value.index(old)] = new
