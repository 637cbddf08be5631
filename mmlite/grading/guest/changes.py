"""Which names a statement changes without binding them: `T.append(3)`, `setup()`, `table[1] = 5`.

Nothing is run for it, so it is a reading, and errs toward running a cheap line too many: what is
called for its result alone, or only shown, changes nothing; a training that is given a number that
the answer uses too does not change that number.
"""

import ast
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# calls that show something; what they are given stays as it is
SHOWING = {"print", "display", "help", "repr", "len", "type", "claim", "check", "grade", "plots",
           "plt", "get_ipython"}  # fmt: skip
# calls that set something in a module: torch.manual_seed, np.random.seed, warnings.simplefilter …
SETTING = re.compile(r"^(?:set_|use_|manual_seed|seed$|filterwarnings|simplefilter|append|insert)")
SEEDING = re.compile(r"^(?:manual_seed|seed$)")  # within a function, a training's, which means it


DEPTH = 4  # of functions that call functions that change a name


@dataclass
class Known:
    """What a notebook's statements say of its names.

    Attributes:
        modules: names that are imported.
        functions: names of functions, which are given to be called and not to be changed.
        changed_parameters: of each function, by place, those that its body changes.
        effects: of each function, or class, the names of the module that its body changes.
    """

    modules: set[str]
    functions: set[str]
    changed_parameters: dict[str, list[bool]] = field(default_factory=dict)
    effects: dict[str, set[str]] = field(default_factory=dict)


def known(nodes: list[ast.stmt]) -> Known:
    """Return what a notebook's top-level statements say of its names."""
    functions = [node for node in nodes if isinstance(node, FUNCTIONS)]
    found = Known(set().union(*map(_imported, nodes)), {node.name for node in functions})
    for function in functions:
        places = [*function.args.posonlyargs, *function.args.args]
        changed = _changed_within(function, found)
        found.changed_parameters[function.name] = [one.arg in changed for one in places]
    for node in nodes:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            found.effects[node.name] = _changed_within(node, found) - _local(node)
    for _ in range(DEPTH):  # and what the functions do that it calls
        for node in nodes:
            if (own := found.effects.get(getattr(node, "name", ""))) is not None:
                calls = (one.func for one in ast.walk(node) if isinstance(one, ast.Call))
                own.update(*(found.effects.get(_root(call) or "", ()) for call in calls))
    return found


def changes(node: ast.stmt, names: Known) -> set[str]:
    """Return the names whose contents a statement changes when it runs."""
    called = set().union(*(names.effects.get(name, set()) for name in _called(node)))
    if not isinstance(node, ast.Expr):
        called -= names.modules  # what a training sets by the way, when its result is kept
    return _changed(node, names) | called


def bound_in(source: str) -> set[str]:
    """Return the names that Python source assigns at its top, none if it is not Python."""
    try:
        nodes = ast.walk(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError):
        return set()
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _imported(node: ast.stmt) -> set[str]:
    nodes = (one for one in ast.walk(node) if isinstance(one, (ast.Import, ast.ImportFrom)))
    aliases = (alias for one in nodes for alias in one.names)
    return {(alias.asname or alias.name).partition(".")[0] for alias in aliases}


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (*FUNCTIONS, ast.Lambda)):
            yield from _outside_functions(child)


def _changed(node: ast.AST, names: Known, seeds: bool = True) -> set[str]:
    """Return the names whose contents a statement itself changes.

    Args:
        node: the statement.
        names: what the notebook says of its names.
        seeds: count `torch.manual_seed(0)` as a change of torch.
    """
    changed: set[str | None] = set()
    for one in [] if isinstance(node, FUNCTIONS) else _outside_functions(node):
        if isinstance(one, (ast.Subscript, ast.Attribute)) and isinstance(one.ctx, ast.Store):
            changed.add(_root(one))
            changed |= _of_globals(one)
        elif isinstance(one, ast.Expr) and (seeds or not _seeds(one.value)):
            changed.update(_changed_by_call(one.value, names))
    return {name for name in changed if name is not None}


def _changed_within(node: ast.AST, names: Known) -> set[str]:
    """Return the names that a function's body changes or declares to be the module's."""
    inner = [one for one in ast.walk(node) if isinstance(one, ast.stmt) and one is not node]
    declared = {name for one in inner if isinstance(one, ast.Global) for name in one.names}
    return declared.union(*(_changed(one, names, seeds=False) for one in inner))


def _local(node: ast.AST) -> set[str]:
    """Return the names of a function's own: its parameters and what it binds."""
    nodes = list(ast.walk(node))
    bound = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    declared = {name for one in nodes if isinstance(one, ast.Global) for name in one.names}
    return ({n.arg for n in nodes if isinstance(n, ast.arg)} | bound) - declared


def _seeds(call: ast.expr) -> bool:
    match call:
        case ast.Call(ast.Attribute(attr=name)):
            return bool(SEEDING.match(name))
    return False


def _changed_by_call(call: ast.expr, names: Known) -> Collection[str | None]:
    """Return the names that a call changes whose result nobody keeps."""
    call = call.value if isinstance(call, ast.Await) else call
    match call:
        case ast.Call(ast.Name("exec"), [ast.Constant(str(source)), *_]):
            return bound_in(source)
        case ast.Call(ast.Name("setattr"), [first, *_]):
            return {_root(first)}
        case ast.Call(ast.Name(name)) if name in names.functions:
            places = names.changed_parameters.get(name, [])
            return {_root(given) for given, is_so in zip(call.args, places, strict=False) if is_so}
        case ast.Call(ast.Name() | ast.Attribute()):
            root = _root(call.func)
        case _:
            return set()
    if root in SHOWING:
        return set()
    if isinstance(call.func, ast.Attribute) and root not in names.modules:
        return {root} - names.functions  # a method
    last = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    given = {_root(one) for one in call.args} - names.functions - names.modules
    return given | ({root} if SETTING.match(last) else set())


def _root(node: ast.AST) -> str | None:
    """Return the name that `a.b[c].d` begins with."""
    while isinstance(node, (ast.Subscript, ast.Attribute, ast.Starred)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _of_globals(node: ast.AST) -> set[str]:
    match node:
        case ast.Subscript(ast.Call(ast.Name("globals" | "locals" | "vars")), ast.Constant(str(n))):
            return {n}
    return set()


def _called(node: ast.AST) -> set[str]:
    """Return the names of the functions that a statement calls when it runs."""
    decorators = getattr(node, "decorator_list", [])
    names = {_root(one.func if isinstance(one, ast.Call) else one) for one in decorators}
    if not isinstance(node, FUNCTIONS):
        calls = (one for one in _outside_functions(node) if isinstance(one, ast.Call))
        names |= {one.func.id for one in calls if isinstance(one.func, ast.Name)}
    return {name for name in names if name is not None}
