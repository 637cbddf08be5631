"""What a user is told when training does not start or stops: a sentence and an exit code."""

import argparse
import os
import sys
from collections.abc import Callable

Command = Callable[[argparse.Namespace], int]


def in_sentences(command: Command, stopped: str | None = None) -> Command:
    """Return the command so that what it refuses is a sentence and an exit code: 2 before, 1 later.

    Only these errors are sentences for a user; any other is a fault of ours, with its traceback.

    Args:
        command: what is run.
        stopped: what is said of a Ctrl-C; without it, that goes on to the caller.
    """

    def run(options: argparse.Namespace) -> int:
        import warnings

        from mmlite.data import DataError
        from mmlite.distributed import ProcessError
        from mmlite.experiments.study.lines import ResultsWarning, StudyError
        from mmlite.training import TrainingError
        from mmlite.training.checkpoints import CheckpointError, CheckpointWarning, WriteError

        rank = os.environ.get("RANK", "") if os.environ.get("WORLD_SIZE", "1") != "1" else ""
        who = f"mmlite, process {rank}" if rank else "mmlite"

        def say(message) -> None:
            print(f"{who}: {message}", file=sys.stderr, flush=True)

        with warnings.catch_warnings():
            show = warnings.showwarning

            def show_ours(message, category, filename, lineno, file=None, line=None) -> None:
                if category in ours:
                    say(message)
                else:
                    show(message, category, filename, lineno, file, line)

            ours = (CheckpointWarning, ResultsWarning)
            for kind in ours:
                warnings.simplefilter("always", kind)
            warnings.showwarning = show_ours
            try:
                return command(options)
            except (TrainingError, WriteError, StudyError) as error:
                say(error)
                return 1
            except (ValueError, CheckpointError, DataError) as error:
                say(error)
                return 2
            except ProcessError as error:
                say(f"{error}. With --resume the run goes on from its last checkpoint")
                return 1
            except KeyboardInterrupt:
                if stopped is None:
                    raise
                say(stopped)
                return 1

    return run
