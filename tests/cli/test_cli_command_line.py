"""The whole command: wrong use, help, errors as sentences, packages that are missing."""

import os
import subprocess
import sys

import pytest
from running import CLAIM, course, options_of_two, run_without

from mmlite import __version__, cli
from mmlite.cli import command_line


@pytest.mark.parametrize("arguments", [[], ["lesons"], ["lessons", "run", "--fast"], ["lessons"]])
def test_wrong_use_shows_the_usage(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert "usage: mmlite" in capsys.readouterr().err


def test_a_path_that_cannot_be_is_a_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(["lessons", "release", str(tmp_path / "file" / "x")]) == 2
    assert f"{tmp_path / 'file' / 'x'}" in capsys.readouterr().err
    arguments = ["grade", str(tmp_path), "--out", str(tmp_path / "file")]
    assert cli.main(arguments) == 2
    assert "file is a file; name a folder" in capsys.readouterr().err


def test_output_goes_where_characters_are_few():
    command = [sys.executable, "-m", "mmlite", "train", "--help"]
    few = os.environ | {"PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, capture_output=True, env=few)
    assert done.returncode == 0, done.stderr
    assert b"of NT-Xent" in done.stdout


def test_version_and_help(capsys):
    for option, text in (("--version", f"mmlite {__version__}"), ("--help", "JupyterLab")):
        with pytest.raises(SystemExit) as stopped:
            cli.main([option])
        assert stopped.value.code == 0
        assert text in capsys.readouterr().out


def test_help_does_not_wait_for_torch():
    code = (
        "import sys; from mmlite.cli.command_line import parser; parser(); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_python_m_mmlite_is_the_command():
    command = [sys.executable, "-m", "mmlite", "train", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "examples:" in done.stdout
    assert "exit codes: 0 trained" in done.stdout


def test_a_tilde_in_a_path_is_the_users_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    parse = command_line.parser().parse_args
    train_to = parse(["train", "--recipe", "cifar10", "--method", "simclr", "--out=~/x"])
    assert train_to.out == tmp_path / "x"
    assert parse(["evaluate", "~/x/last.pt"]).checkpoint == tmp_path / "x" / "last.pt"
    marks = parse(["grade", "~/class", "--out=~/marks"])
    assert (marks.submissions, marks.out) == (tmp_path / "class", tmp_path / "marks")
    assert parse(["lessons", "release", "~/out.zip"]).target == tmp_path / "out.zip"
    assert parse(["lessons", "run", "~/01.ipynb"]).lessons == [str(tmp_path / "01.ipynb")]
    with pytest.raises(SystemExit):
        parse(["evaluate", "~nobody-of-this-name/x"])
    assert "write the path out" in capsys.readouterr().err


NOTEBOOKS = (
    "nbformat",
    "nbclient",
    "jupyterlab",
    "ipykernel",
    "matplotlib",
    "ipywidgets",
    "IPython",
)


def test_training_needs_no_package_for_notebooks(tmp_path):
    out = tmp_path / "run"
    for command in (["--help"], ["train", "--help"], ["bench"], options_of_two(out)[2:]):
        done = run_without(NOTEBOOKS, *command)
        assert done.returncode == 0, done.stderr
    done = run_without(NOTEBOOKS, "evaluate", str(out))
    assert done.returncode == 0, done.stderr
    assert "kNN" in done.stdout


@pytest.mark.parametrize(
    "command", [["lab"], ["lessons", "run"], ["lessons", "build", "--check"], ["grade", "x"]]
)
@pytest.mark.parametrize("missing", [NOTEBOOKS, ["nbformat"]])
def test_what_needs_notebooks_says_what_to_install(tmp_path, command, missing):
    folder = course(tmp_path, CLAIM.format(2))
    more = ["--out", str(tmp_path / "out")] if command[0] == "grade" else []
    done = run_without(missing, *command, *more, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("mmlite: this command needs nbformat, which is not installed; ")
    assert "pip install -e '.[course]'" in done.stderr
