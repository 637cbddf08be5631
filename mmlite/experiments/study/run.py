"""Running a study: its cells in several processes, each result on the disk as it comes."""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from mmlite.experiments.study.arms import run_cell
from mmlite.experiments.study.cells import Cell, Results
from mmlite.experiments.study.lines import StudyError, read_results, writing
from mmlite.experiments.study.protocol_file import read_protocol
from mmlite.support import checks
from mmlite.support.progress import progress_bar


def run_study(
    protocol: str | Path,
    folder: str | Path,
    *,
    jobs: int = 1,
    only: Sequence[str] | None = None,
    progress: bool = True,
) -> Results:
    """Do all runs of a study that are not done, and return its results.

    Each run has one thread, so that its figures do not depend on how many run side by side. After
    a kill the same call goes on with what is missing.

    Args:
        protocol: the file, for `read_protocol`.
        folder: for the results, `tuning.jsonl` and `main.jsonl`, and a copy of the protocol.
        jobs: how many runs side by side, each in a process of its own.
        only: the arms to run, and those that they need; by default all.
        progress: show a progress bar with the time left.

    Raises:
        DataError: images are missing or damaged.
        OSError: the folder cannot be written.
        ProtocolError: the protocol cannot be read or run.
        ResultsError: the folder holds results of another protocol, or another study is running
            there.
        StudyError: a process was killed, for want of memory, say.
        ValueError: an argument is out of its range, or the data set has too few images.
    """
    path, read = checks.path("protocol", protocol), read_protocol(protocol)
    folder, jobs = checks.path("folder", folder), checks.whole("jobs", jobs, 1)
    progress = checks.flag("progress", progress)
    for arm in only or ():
        checks.choice("an arm of only", arm, read.arms)
    with writing(folder, path) as write:
        results = read_results(folder, read)
        left, done = sum(results.left(only).values()), len(results.lines)
        bar = progress_bar("run", done + left, begun=done, quiet=not progress)
        bar.bar_format = "{l_bar}{bar}| {n_fmt}/{total_fmt} runs{postfix}"  # its own time misleads
        with bar, _workers(jobs) as pool:
            for line in _done(pool, jobs, results, only):
                write(line)
                results.add(line)
                bar.set_postfix_str(_time_left(results, only, jobs), refresh=False)
                bar.update()
    return results


def _done(
    pool: ProcessPoolExecutor, jobs: int, results: Results, only: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    """Yield the lines of all runs that are to do, as they come."""
    running: dict[Future, Cell] = {}
    try:
        while True:
            for cell in results.to_do(only):
                if len(running) == jobs:
                    break
                if cell not in running.values():
                    future = pool.submit(run_cell, results.protocol, cell, results.mask(cell))
                    running[future] = cell
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                del running[future]
                yield future.result()
    except BrokenProcessPool as error:
        raise StudyError(
            "a process of the study was killed, perhaps for want of memory; the same command goes "
            "on with what is missing, and fewer jobs need less"
        ) from error


@contextmanager
def _workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of processes, which end at once if the study is stopped."""
    # spawned, because a fork of a process with threads can hang
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, initializer=_begin)
    try:
        yield pool
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Set up a process of the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process ends them
    torch.set_num_threads(1)


def _time_left(results: Results, only: Sequence[str] | None, jobs: int) -> str:
    """Return in words how long the runs that are left will take, from those that are done."""
    seconds: dict[str, list[float]] = {}
    for cell, line in results.lines.items():
        seconds.setdefault(cell.arm, []).append(sum(line["seconds"].values()))
    means = {arm: fmean(each) for arm, each in seconds.items()}
    usual = fmean(means.values())
    total = sum(means.get(arm, usual) * runs for arm, runs in results.left(only).items())
    minutes = total / jobs / 60
    if minutes >= 90:
        return f"about {minutes / 60:.1f} h left"
    return f"about {minutes:.0f} min left" if minutes >= 1 else "less than a minute left"
