"""Output that nobody reads."""

import os

import pytest
from running import ROOT, read_first

from mmlite import cli
from mmlite.cli import command_line


@pytest.mark.skipif(os.name != "posix", reason="a closed pipe is another error on Windows")
@pytest.mark.parametrize("command", [["train", "--help"], ["--help"], ["bench"]])
@pytest.mark.parametrize("buffered", [True, False])
def test_a_closed_pipe_is_the_end_and_no_traceback(tmp_path, command, buffered):
    # who reads nothing at all hangs up before the command writes
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    environment |= {} if buffered else {"PYTHONUNBUFFERED": "1"}
    code, said = read_first(command, 0, cwd=ROOT, env=environment)
    # argparse passes over a help text that nobody reads, and then there is nothing left to fail
    assert code in ((0, 141) if "--help" in command else (141,))
    assert said == ""


def test_a_pipe_that_breaks_elsewhere_is_a_fault(monkeypatch):
    def broken(arguments):
        raise BrokenPipeError

    monkeypatch.setattr(command_line, "_run", broken)
    with pytest.raises(BrokenPipeError):
        cli.main(["bench"])
