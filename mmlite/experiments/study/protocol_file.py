"""The file of a study's protocol, in TOML: read, and checked key by key.

`benchmarks/trial/protocol.toml` shows every key. The file's checksum stands in each line of the
results, so that they cannot be judged by rules that were written after them.
"""

import hashlib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from mmlite.experiments.recipes import METHODS, SCHEDULES, Recipe, numbers
from mmlite.experiments.study.protocol import (
    GRADIENTS,
    READERS,
    UNTRAINED,
    VIEWS,
    Arm,
    Difference,
    Protocol,
    Reading,
    Tuning,
    World,
)
from mmlite.support import checks

NUMBERS = tuple(one.name for one in numbers())
One = TypeVar("One")


class ProtocolError(ValueError):
    """A protocol is missing, is no TOML, or says what cannot be run."""


def read_protocol(path: str | Path) -> Protocol:
    """Read a protocol.

    Args:
        path: a TOML file; `benchmarks/trial/protocol.toml` shows every key.

    Raises:
        ProtocolError: it is missing, is no TOML, or a key is missing, unknown or wrong; the message
            names it.
    """
    path = checks.path("path", path)
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except OSError as error:
        raise ProtocolError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # no UTF-8, or no TOML
        raise ProtocolError(f"{path} is no TOML file: {error}") from error
    checksum = hashlib.sha256(text.encode()).hexdigest()[:16]
    try:
        return _protocol(raw, checksum)
    except ProtocolError:
        raise
    except ValueError as error:
        raise ProtocolError(f"{path}: {error}") from error


def _protocol(raw: dict[str, Any], checksum: str) -> Protocol:
    top = _table(
        "the protocol",
        raw,
        *("name", "version", "changes", "recipe", "images", "worlds", "arms", "tuning", "main"),
        *("primary", "secondary"),
    )
    images = _table("images", top["images"], "validation")
    main = _table("main", top["main"], "worlds", "seeds")
    primary = _table("primary", top["primary"], "world", "reading", "above", "level", "margin")
    secondary = _table("secondary", top["secondary"], "level", "differences")
    name = checks.text("name", top["name"])
    worlds = _named("worlds", top["worlds"], World)
    arms = _named("arms", top["arms"], Arm)
    of_all = _mapping("recipe", top["recipe"])
    for key in of_all:
        checks.choice("a key of recipe", key, ("data", "split", "encoder", "precision", *NUMBERS))
    if "data" not in of_all:
        raise ValueError("recipe has no data")
    recipe = Recipe(name, about="", **of_all)
    found = Protocol(
        name=name,
        version=checks.whole("version", top["version"], 1),
        changes=tuple(
            checks.text(f"changes[{i}]", one) for i, one in enumerate(_list("changes", top))
        ),
        checksum=checksum,
        recipe=recipe,
        validation=checks.whole("images.validation", images["validation"], 1),
        worlds=worlds,
        arms=arms,
        tuning=_tuning(top["tuning"]),
        main_worlds=tuple(_list("worlds", main)),
        seeds=_seeds("main.seeds", main["seeds"], least=2),
        primary=tuple(
            Difference(primary["world"], _reading(primary["reading"]), _reading(other))
            for other in _list("above", primary)
        ),
        level=checks.real("primary.level", primary["level"], above=0, below=0.5),
        margin=checks.real("primary.margin", primary["margin"], above=0),
        secondary=tuple(_difference(one) for one in _list("differences", secondary)),
        secondary_level=checks.real("secondary.level", secondary["level"], above=0, below=0.5),
    )
    _check(found)
    return found


def _check(protocol: Protocol) -> None:
    """Raise a ValueError unless all that the protocol names is there and can be run."""
    worlds, arms = protocol.worlds, protocol.arms
    checks.choice("tuning.world", protocol.tuning.world, worlds)
    for i, main_world in enumerate(protocol.main_worlds):
        checks.choice(f"main.worlds[{i}]", main_world, worlds)
    for name, world in worlds.items():
        _check_numbers(f"worlds.{name}.numbers", world.numbers, ("background",))
        _check_numbers(f"worlds.{name}.outer", world.outer)
    for name, arm in arms.items():
        _check_arm(name, arm, protocol)
    _check_numbers("tuning.settings", protocol.tuning.configurations[0])
    for name, world in worlds.items():
        for of_arm in arms:
            for configuration in range(len(protocol.tuning.configurations)):
                protocol.recipe_of(name, of_arm, configuration).replace(**world.outer)
    if shared := {*protocol.tuning.first_seeds, *protocol.tuning.more_seeds} & {*protocol.seeds}:
        raise ValueError(
            f"tuning and the main run share seed {min(shared)}; what was chosen on a seed cannot "
            "be tested on it"
        )
    if not protocol.primary:
        raise ValueError("primary.above must name at least one reading")
    for one in (*protocol.primary, *protocol.secondary):
        checks.choice("the world of a difference", one.world, protocol.main_worlds)
        for reading in (one.a, one.b):
            checks.choice("the arm of a reading", reading.arm, arms)
            checks.choice("the reader of a reading", reading.reader, READERS)
            known = arms[reading.arm].readings
            checks.choice(f"the reading of arm {reading.arm}", reading.reading, known)


def _check_arm(name: str, arm: Arm, protocol: Protocol) -> None:
    where = f"arms.{name}"
    checks.choice(f"{where}.method", arm.method, (UNTRAINED, *METHODS))
    checks.choice(f"{where}.schedule", arm.schedule, SCHEDULES)
    checks.choice(f"{where}.gradient", arm.gradient, GRADIENTS)
    for key in ("trained_on", "judged_on"):
        checks.choice(f"{where}.{key}", getattr(arm, key), VIEWS)
    _check_numbers(f"{where}.numbers", arm.numbers)
    if arm.shuffled_mask_of is None:
        return
    learns = [
        other
        for other, one in protocol.arms.items()
        if one.has_mask and one.shuffled_mask_of is None
    ]
    checks.choice(f"{where}.shuffled_mask_of", arm.shuffled_mask_of, learns)
    if not arm.has_mask:
        raise ValueError(f"{where}.method must be metamask, for its mask to be in place")


def _check_numbers(name: str, given: Mapping[str, Any], more: Sequence[str] = ()) -> None:
    for key in _mapping(name, given):
        checks.choice(f"a key of {name}", key, (*NUMBERS, *more))


def _tuning(raw: Any) -> Tuning:
    keys = ("world", "first_seeds", "finalists", "more_seeds", "settings", "configurations")
    table = _table("tuning", raw, *keys)
    settings, rows = _list("settings", table), _list("configurations", table)
    for i, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(settings):
            raise ValueError(
                f"tuning.configurations[{i}] must have a number for each of the "
                f"{len(settings)} settings, got {checks.shown(row)}"
            )
    first = _seeds("tuning.first_seeds", table["first_seeds"])
    more = _seeds("tuning.more_seeds", table["more_seeds"])
    if both := {*first} & {*more}:
        raise ValueError(f"seed {min(both)} stands in tuning.first_seeds and in more_seeds")
    if not rows:
        raise ValueError("tuning.configurations must hold at least one")
    return Tuning(
        table["world"],
        first,
        checks.whole("tuning.finalists", table["finalists"], 1, len(rows)),
        more,
        tuple(dict(zip(settings, row, strict=True)) for row in rows),
    )


def _difference(raw: Any) -> Difference:
    if not isinstance(raw, list) or len(raw) != 3:
        raise checks.wrong("a secondary difference", "[world, reading, reading]", raw)
    return Difference(raw[0], _reading(raw[1]), _reading(raw[2]))


def _reading(raw: Any) -> Reading:
    if not isinstance(raw, list) or len(raw) != 3 or not all(isinstance(t, str) for t in raw):
        raise checks.wrong("a reading", "[arm, reader, reading], a string each", raw)
    return Reading(*raw)


def _seeds(name: str, raw: Any, least: int = 1) -> tuple[int, ...]:
    if not isinstance(raw, list) or len(raw) < least:
        raise checks.wrong(name, f"a list of seeds, {least} or more", raw)
    seeds = tuple(checks.seed(one, f"{name}[{i}]") for i, one in enumerate(raw))
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"{name} holds a seed twice")
    return seeds


def _named(name: str, raw: Any, kind: Callable[..., One]) -> dict[str, One]:
    known = {one.name for one in fields(kind)}  # type: ignore[arg-type]
    found = {}
    for key, table in _mapping(name, raw).items():
        where = f"{name}.{key}"
        for inner in _mapping(where, table):
            checks.choice(f"a key of {where}", inner, sorted(known))
        try:
            found[key] = kind(**table)
        except TypeError as error:
            raise ValueError(f"{where}: {error}") from error
    return found


def _table(name: str, raw: Any, *keys: str) -> Mapping[str, Any]:
    """Return a table that has these keys and no other."""
    for key in _mapping(name, raw):
        checks.choice(f"a key of {name}", key, keys)
    if missing := [key for key in keys if key not in raw]:
        raise ValueError(f"{name} has no {missing[0]}")
    return raw


def _mapping(name: str, raw: Any) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        raise checks.wrong(name, "a table", raw)
    return raw


def _list(key: str, table: Mapping[str, Any]) -> Sequence[Any]:
    if not isinstance(table[key], list):
        raise checks.wrong(key, "a list", table[key])
    return table[key]
