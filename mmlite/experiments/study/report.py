"""A study's results in words and tables."""

from collections import Counter
from statistics import fmean

from mmlite.experiments.study.cells import MAIN, TUNING, Results
from mmlite.experiments.study.protocol import READERS, Difference, Reading
from mmlite.experiments.study.verdict import (
    UNDECIDED,
    IncompleteError,
    Outcome,
    Verdict,
    judge,
    planned_power,
    readings_of,
    secondary,
)
from mmlite.support.columns import aligned

ORDER = ("whole", "standardized", "whitened", "masked", "shuffled", "whitened, masked")


def report(results: Results) -> str:
    """Return a study's verdict, tables and differences as text; accuracies in percent.

    Of what is not complete it says what is missing: before the last run of a comparison is there,
    nothing is said of the comparison.
    """
    protocol = results.protocol
    parts = [
        [f"{protocol.name} Protocol {protocol.version}, {protocol.checksum}"],
        _state(results),
        _tuning(results),
        _verdict(results),
        *(_world(results, world) for world in protocol.main_worlds),
        _secondary(results),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def outcomes(results: Results) -> list[Outcome]:
    """Return the outcomes of all differences that are complete, the primary ones first."""
    found: list[Outcome] = []
    for part in (lambda: judge(results).outcomes, lambda: secondary(results)):
        try:
            found += part()
        except IncompleteError:
            continue
    return found


def _state(results: Results) -> list[str]:
    """Say how much is done, on what, and what failed."""
    left, lines = sum(results.left().values()), list(results.lines.values())
    machines = Counter(line["machine"] for line in lines)
    said = [f"{len(lines):,} of {len(lines) + left:,} runs are done"]
    said += [f"  {count:,} on {machine}" for machine, count in machines.most_common()]
    failed = [(cell, line) for cell, line in results.lines.items() if "failed" in line]
    said += [
        f"  failed: {cell.arm}, {cell.stage}, seed {cell.seed}, configuration "
        f"{cell.configuration}: {line['failed']}"
        for cell, line in failed
    ]
    return said


def _tuning(results: Results) -> list[str]:
    """Say what tuning chose."""
    tuning = results.protocol.tuning
    settings = list(tuning.configurations[0])
    rows = [["tuning chose", "validation", *(name.replace("_", " ") for name in settings)]]
    for arm, one in results.protocol.arms.items():
        chosen = results.chosen(arm) if one.trains else None
        if chosen is None:
            continue
        seeds = [
            line["readings"]["kNN"][one.tuned_by]
            for cell, line in results.lines.items()
            if (cell.stage, cell.arm, cell.configuration) == (TUNING, arm, chosen)
        ]
        used = (f"{tuning.configurations[chosen][name]:g}" for name in settings)
        rows.append([f"  {arm}", f"{100 * fmean(seeds):.1f}", *used])
    return aligned(rows) if len(rows) > 1 else []


def _verdict(results: Results) -> list[str]:
    protocol = results.protocol
    try:
        verdict = judge(results)
    except IncompleteError as error:
        said = [f"No verdict yet: {error}."]
    else:
        said = [f"Verdict: {verdict.word}.", *_reasons(verdict, protocol.margin)]
    for difference in protocol.primary:
        try:
            chance = planned_power(results, difference)
        except IncompleteError:
            continue
        said.append(
            f"  by the tuning seeds' spread, {len(protocol.seeds)} seeds find "
            f"{100 * protocol.margin:g} point of {difference} with a power of {chance:.2f}"
        )
    return said


def _reasons(verdict: Verdict, margin: float) -> list[str]:
    said = [
        f"  {one.difference}: {points(one)}; above 0 with p = {one.p:.3g} "
        f"(sign flips {one.p_flip:.3g}), within ±{100 * margin:g} with p = {one.p_equivalent:.3g}"
        for one in verdict.outcomes
    ]
    if verdict.word == UNDECIDED:
        below = [one for one in verdict.outcomes if one.interval.high < 0]
        said += [f"  {one.difference}: below 0, by the 95 % interval" for one in below]
    return said


def _world(results: Results, world: str) -> list[str]:
    """Return a table a reader: the means over seeds, by arm and reading."""
    lines = [f"World {world}: {results.protocol.worlds[world].about}; means over seeds, percent"]
    for reader in READERS:
        rows = []
        for arm, one in results.protocol.arms.items():
            try:
                means = {
                    reading: fmean(readings_of(results, world, Reading(arm, reader, reading)))
                    for reading in one.readings
                }
            except IncompleteError:
                continue
            cells = (f"{100 * means[name]:.1f}" if name in means else "" for name in ORDER)
            rows.append([f"  {arm}", *cells])
        if rows:
            lines += aligned([[f"  {reader}", *ORDER], *rows])
    if len(lines) == 1:
        done = sum(cell.stage == MAIN and cell.world == world for cell in results.lines)
        return [*lines, f"  no arm is complete yet ({done} runs are done)"]
    return lines


def _secondary(results: Results) -> list[str]:
    protocol = results.protocol
    try:
        found = secondary(results)
    except IncompleteError as error:
        return [f"No secondary differences yet: {error}."]
    rows = [["Secondary differences, points", "95 % interval", "p", "after Holm", "holds"]]
    for one in found:
        assert one.p_adjusted is not None  # secondary ones have it
        holds = "yes" if one.p_adjusted <= protocol.secondary_level else "no"
        name = named(one.difference, len(protocol.main_worlds) > 1)
        rows.append([f"  {name}", points(one), f"{one.p:.2g}", f"{one.p_adjusted:.2g}", holds])
    return aligned(rows)


def named(difference: Difference, world: bool = True) -> str:
    """Return a difference in words, with its world or without."""
    return f"{difference.world}: {difference}" if world else str(difference)


def points(outcome: Outcome) -> str:
    """Return a difference with its interval, in points of percent."""
    mean, low, high = (100 * one for one in outcome.interval)
    return f"{mean:+.2f} ({low:+.2f} to {high:+.2f})".replace("-", "−")
