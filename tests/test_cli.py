"""The command line: lessons run and built, and a real JupyterLab started and asked for a lesson."""

import errno
import functools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest
import several
import torch
from nbformat.v4 import new_code_cell, new_notebook

from mmlite import __version__, cli
from mmlite.course.notebooks import LessonError
from mmlite.training.checkpoints import alone

ROOT = Path(__file__).resolve().parents[1]


def course(folder: Path, *sources: str) -> Path:
    for name in ("lessons", "solutions"):
        (folder / name).mkdir()
        cells = [new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(sources)]
        nbformat.write(new_notebook(cells=cells), folder / name / "01_small.ipynb")
    return folder


CLAIM = "from mmlite import claim\nclaim('one is small', 1, at_most={})"


@pytest.mark.parametrize(
    ("sources", "code", "lines"),
    [
        ([CLAIM.format(2)], 0, ["✓ one is small", "1 of 1 claims hold"]),
        ([CLAIM.format(0)], 1, ["✗ FAILS one is small", "0 of 1 claims hold"]),
        (
            [CLAIM.format(2), "1 / 0"],
            1,
            ["✓ one is small", "ZeroDivisionError", "1 of 1 claims hold, but the lesson stopped"],
        ),
    ],
)
def test_lessons_run_prints_each_claim_and_exits_by_them(
    tmp_path, monkeypatch, capsys, sources, code, lines
):
    monkeypatch.chdir(course(tmp_path, *sources))
    assert cli.main(["lessons", "run", "01"]) == code
    printed = capsys.readouterr()
    for line in lines:
        assert line in printed.out
    assert "cell" in printed.err  # the progress bar


def test_lessons_run_can_run_the_masters(tmp_path, monkeypatch, capsys):
    folder = course(tmp_path, CLAIM.format(2))
    (folder / "lessons" / "01_small.ipynb").write_text("broken")
    monkeypatch.chdir(folder)
    assert cli.main(["lessons", "run", "--solutions"]) == 0


def test_lessons_build_and_its_check(tmp_path, monkeypatch, capsys):
    folder = course(tmp_path, CLAIM.format(2))
    monkeypatch.chdir(folder)
    master = folder / "solutions" / "01_small.ipynb"
    nb = nbformat.read(master, 4)
    nb.cells[0].source += "\nprint('new')"
    nbformat.write(nb, master)
    assert cli.main(["lessons", "build", "--check"]) == 1
    assert "cell cell-0: its source or metadata is not what the" in capsys.readouterr().out
    assert cli.main(["lessons", "build"]) == 0
    assert cli.main(["lessons", "build", "--check"]) == 0
    assert "1 lessons are what their masters make" in capsys.readouterr().out
    assert nbformat.read(folder / "lessons" / "01_small.ipynb", 4).metadata.mmlite.seconds >= 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lessons", "run", "77"], "there is no lesson '77' in"),
        (["lab", "77"], "there is no lesson '77' in"),
    ],
)
def test_an_unknown_lesson_is_a_sentence_and_exit_code_2(capsys, arguments, message):
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["lesons"], ["lessons", "run", "--fast"], ["lessons"]])
def test_wrong_use_shows_the_usage(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert "usage: mmlite" in capsys.readouterr().err


def test_ctrl_c_ends_a_lesson_with_a_word(tmp_path):
    course(tmp_path, "import time\nopen('begun', 'w').close()\ntime.sleep(600)")
    command = [sys.executable, "-m", "mmlite", "lessons", "run"]
    # a run of tests in the background may ignore Ctrl-C, and its children with it
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, preexec_fn=heard, **pipes) as running:
        deadline = time.monotonic() + 300
        while not (tmp_path / "lessons" / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=300)
    assert running.returncode == 130, said
    assert said.endswith("mmlite: stopped\n")
    assert "Traceback" not in said


def test_a_path_that_cannot_be_is_a_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(["lessons", "release", str(tmp_path / "file" / "x")]) == 2
    assert f"{tmp_path / 'file' / 'x'}" in capsys.readouterr().err
    arguments = ["grade", str(tmp_path), "--out", str(tmp_path / "file")]
    assert cli.main(arguments) == 2
    assert "file is a file; name a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--due", "tomorrow", "'tomorrow' is no time; give it as 2026-11-30T18:00"),
        ("--due", "0001-01-01T00:00+14:00", "is no time"),
        ("--timeout", "0.5", "'0.5' is not a whole number of at least 1"),
        ("--jobs", "two", "'two' is not a whole number"),
        ("--memory", "0", "'0' is not a whole number"),
    ],
)
def test_grades_options_say_what_they_take(capsys, option, value, message):
    with pytest.raises(SystemExit):
        cli.main(["grade", "class", "--out", "marks", option, value])
    assert message in capsys.readouterr().err


def test_a_day_is_over_at_its_end_and_a_lesson_has_one_name():
    assert cli._local_time("2026-11-30").isoformat() == "2026-11-30T23:59:59"
    for text in ("1", "01", "01_contrastive"):
        assert cli._lesson_number(text, {"01": "contrastive"}) == "01"
    with pytest.raises(LessonError, match="no exercises of lesson '01_nonsense', only of: 01"):
        cli._lesson_number("01_nonsense", {"01": "contrastive"})


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
    code = "import sys; from mmlite.cli import _parser; _parser(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("arguments", "lesson", "passed_on"),
    [
        (["lab"], "01", []),
        (["lab", "01"], "01", []),
        (["lab", "--ip", "0.0.0.0"], "01", ["--ip", "0.0.0.0"]),
        (["lab", "2", "--port", "9000"], "2", ["--port", "9000"]),
        (["lab", "--port=9000", "--no-browser"], "01", ["--port=9000", "--no-browser"]),
    ],
)
def test_labs_other_options_go_to_jupyterlab(monkeypatch, arguments, lesson, passed_on):
    seen = []
    monkeypatch.setattr(cli, "lab", lambda options: seen.append(options) or 0)
    assert cli.main(arguments) == 0
    assert (seen[0].lesson, seen[0].jupyter) == (lesson, passed_on)


@pytest.mark.parametrize("display", [True, False])
@pytest.mark.parametrize("root", [True, False])
def test_jupyter_is_told_of_root_and_of_a_missing_display(display, root):
    command = cli.jupyter_command(Path("/c"), Path("/c/lessons/01_a.ipynb"), display, root)
    assert ("--no-browser" in command) is not display
    assert ("--allow-root" in command) is root


@pytest.mark.parametrize(
    ("platform", "variables", "shown"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("darwin", {}, True),
        ("win32", {}, True),
    ],
)
def test_a_display_is_recognised(monkeypatch, platform, variables, shown):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cli.has_display() is shown


def test_lab_opens_lesson_01_and_steps_over_a_busy_port(tmp_path):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        environment = {k: v for k, v in os.environ.items() if "DISPLAY" not in k}
        environment |= {
            "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
            "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
            "PYTHONUNBUFFERED": "1",
        }
        command = [sys.executable, "-m", "mmlite.cli", "lab", f"--ServerApp.port={port}"]
        log = tmp_path / "log"
        with log.open("w") as out:
            server = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT
            )
        try:
            link = wait_for_link(log, server)
            assert f":{port}/" not in link
            assert "/lab/tree/lessons/01_contrastive.ipynb" in link
            base, token = re.match(r"(.*)/lab/.*\?token=(\w+)", link).groups()
            assert fetch(link, server, log)
            address = f"{base}/api/contents/lessons/01_contrastive.ipynb?token={token}"
            opened = json.loads(fetch(address, server, log))
            assert opened["type"] == "notebook"
        finally:
            server.terminate()
            server.wait(timeout=300)


def fetch(address: str, server: subprocess.Popen, log: Path, seconds: float = 300) -> bytes:
    """Return what the server answers; on a busy machine it prints its link before it does."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, timeout=60) as page:
                assert page.status == 200
                return page.read()
        except urllib.error.HTTPError:
            raise
        except OSError:  # refused, reset or late
            assert server.poll() is None, f"JupyterLab stopped:\n{log.read_text()}"
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def wait_for_link(log: Path, server: subprocess.Popen, seconds: float = 300) -> str:
    """Return the link that JupyterLab prints."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pattern = r"http://(?:localhost|127\.0\.0\.1):\d+/lab/\S*token=\w+"
        found = re.search(pattern, log.read_text())
        if found:
            return found[0]
        assert server.poll() is None, f"JupyterLab stopped:\n{log.read_text()}"
        time.sleep(0.2)
    raise AssertionError(f"no link after {seconds} s:\n{log.read_text()}")


# training

SMALL = ["--images", "64", "--batch-size", "32", "--epochs", "1", "--dim", "8", "--hidden", "8"]


def train(out: Path, *more: str, method: str = "simclr") -> int:
    given = ["--recipe", "fashion-laptop", "--method", method, "--out", str(out), *SMALL, *more]
    return cli.main(["train", *given])


def test_train_prints_a_table_and_evaluate_the_same(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MMLITE_DEVICE", "cpu")
    assert train(tmp_path, "--schedule", "lookahead", method="metamask") == 0
    printed = capsys.readouterr()
    assert re.search(r"whole +0\.\d{3} +0\.\d{3}\nmasked +0\.\d{3}\npermuted", printed.out)
    assert "step" in printed.err  # the progress bar
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1
    assert cli.main(["evaluate", str(tmp_path / "last.pt")]) == 0
    again = capsys.readouterr().out
    assert again.startswith("fashion-laptop, metamask (lookahead), seed 0, after 2 steps\n")
    assert again.endswith(printed.out)
    # done already: nothing is trained again
    assert train(tmp_path, "--schedule", "lookahead", "--resume", method="metamask") == 0
    assert capsys.readouterr().out == printed.out


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path, capsys):
    assert train(tmp_path / "run", "--dry-run", "--learning-rate", "0.5", method="metamask") == 0
    printed = capsys.readouterr().out
    for line in (r"method +metamask, schedule paper", r"  images +64 ", r"  learning_rate +0\.5 "):
        assert re.search(line, printed), line
    assert not (tmp_path / "run").exists()
    assert "small_conv in float32, on " in printed
    assert train(tmp_path / "run", "--dry-run", "--precision", "bfloat16", "--compile") == 0
    assert "small_conv in bfloat16, compiled, on " in capsys.readouterr().out


def test_train_takes_a_precision_and_compile(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MMLITE_DEVICE", "cpu")
    assert train(tmp_path / "run", "--quiet", "--precision", "bfloat16") == 0
    assert train(tmp_path / "run", "--quiet", "--resume") == 2
    assert "precision is 'bfloat16' there and 'float32' here" in capsys.readouterr().err
    schedule = ["--schedule", "lookahead", "--compile", "--quiet"]
    assert train(tmp_path / "other", *schedule, method="metamask") == 2
    assert "cannot train a compiled encoder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train(tmp_path / "half", "--precision", "float16")


def test_what_train_refuses_is_a_sentence_and_exit_code_2(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MMLITE_DATA", str(tmp_path / "nothing"))
    assert train(tmp_path / "run", "--quiet") == 0
    capsys.readouterr()
    for more, message in (
        ([], "there is a run in"),
        (["--recipe", "fashion-laptop", "--resume", "--out", str(tmp_path / "b")], "is going on"),
        (["--resume", "--seed", "4"], "seed is 0 there and 4 here"),
        (["--epochs", "0"], "epochs must be a whole number of at least 1"),
        (["--batch-size", "65", "--resume"], "batch_size must be a whole number from 2 to 64"),
        (["--schedule", "paper"], "--schedule is of --method metamask, and simclr has none"),
        (["--recipe", "cifar10", "--out", str(tmp_path / "c")], "cifar10 is missing or damaged"),
    ):
        with alone(tmp_path / "b" / "last.pt"):  # as another run does
            assert train(tmp_path / "run", *more) == 2
        error = capsys.readouterr().err
        assert error.startswith("mmlite: ")
        assert message in error
    (tmp_path / "run" / "last.pt").write_bytes(b"damaged")
    (tmp_path / "run" / "last.previous.pt").unlink()  # of the same epoch, before its hook
    assert cli.main(["evaluate", str(tmp_path / "run")]) == 2
    assert "last.pt is damaged" in capsys.readouterr().err


def test_a_disk_that_is_full_stops_a_run_with_exit_code_1(tmp_path, capsys, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    assert train(tmp_path / "run", "--quiet") == 1
    assert "cannot be written ([Errno 28] No space left" in capsys.readouterr().err
    # the log's line of an epoch comes after its checkpoint
    assert os.listdir(tmp_path / "run") == ["last.pt.lock"]


def test_a_run_that_stops_on_the_way_is_a_sentence_and_exit_code_1(tmp_path, capsys, monkeypatch):
    from mmlite.experiments import runs

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "fit", stop)
    assert train(tmp_path / "run") == 1
    assert "stopped; the same command with --resume goes on" in capsys.readouterr().err
    monkeypatch.undo()
    assert train(tmp_path / "hot", "--learning-rate", "1e30", "--warmup", "0", "--quiet") != 0
    assert capsys.readouterr().err.startswith("mmlite: ")


def test_bench_lists_scripts_runs_one_and_passes_its_exit_code(tmp_path, capfd, monkeypatch):
    folder = course(tmp_path, "1")
    (folder / "benchmarks").mkdir()
    script = folder / "benchmarks" / "speed.py"
    script.write_text('"""How fast.\n\nMore."""\nimport sys\nsys.exit("--fail" in sys.argv)\n')
    monkeypatch.chdir(folder)
    assert cli.main(["bench"]) == 0
    assert capfd.readouterr().out.split(maxsplit=1) == ["speed", "How fast.\n"]
    assert cli.main(["bench", "speed"]) == 0
    assert cli.main(["bench", "speed", "--fail"]) == 1
    assert cli.main(["bench", "sped"]) == 2
    assert "there is no benchmark 'sped'; there are: speed" in capfd.readouterr().err


def test_python_m_mmlite_is_the_command():
    command = [sys.executable, "-m", "mmlite", "train", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "examples:" in done.stdout
    assert "exit codes: 0 trained" in done.stdout


# paths, pipes and packages


def test_a_tilde_in_a_path_is_the_users_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    parse = cli._parser().parse_args
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


def test_a_folder_or_a_file_in_the_place_of_the_other_is_a_sentence(tmp_path, capsys):
    assert cli.main(["evaluate", str(tmp_path)]) == 2
    assert "there is no checkpoint" in capsys.readouterr().err
    (tmp_path / "last.pt").mkdir()
    assert cli.main(["evaluate", str(tmp_path)]) == 2
    assert "last.pt is a folder" in capsys.readouterr().err
    assert train(tmp_path, "--quiet", "--resume") == 2
    assert capsys.readouterr().err.startswith("mmlite: ")
    (tmp_path / "file").write_text("")
    assert train(tmp_path / "file", "--quiet") == 2
    assert capsys.readouterr().err.startswith("mmlite: ")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE must be a whole number of at least 1, got 'two'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE must be a whole number of at least 1, got '0'"),
        ({"WORLD_SIZE": "-1"}, "WORLD_SIZE must be a whole number"),
        ({"WORLD_SIZE": "2"}, "RANK, MASTER_ADDR, MASTER_PORT is not set; start several"),
        ({"WORLD_SIZE": "2", "RANK": ""}, "RANK, MASTER_ADDR, MASTER_PORT is not set"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, "MASTER_ADDR, MASTER_PORT is not set"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_torchruns_variables_that_make_no_sense_are_a_sentence(
    tmp_path, capsys, monkeypatch, variables, message, more
):
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert train(tmp_path / "run", "--quiet", *more) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", ["", " ", "1"])
def test_an_empty_world_size_is_one_process(tmp_path, capsys, monkeypatch, value):
    monkeypatch.setenv("WORLD_SIZE", value)
    assert train(tmp_path / "run", "--quiet", "--dry-run") == 0
    assert "\nprocesses " not in capsys.readouterr().out


def read_first(command, count, **more):
    """Start a command, read so many bytes of its output, hang up; return its code and words."""
    with subprocess.Popen(
        [sys.executable, "-m", "mmlite", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    ) as running:
        running.stdout.read(count)
        running.stdout.close()
        said = running.stderr.read().decode()
        return running.wait(), said


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


@pytest.mark.skipif(os.name != "posix", reason="a closed pipe is another error on Windows")
def test_lessons_run_ends_with_who_reads_it(tmp_path):
    folder = course(tmp_path, CLAIM.format(2))
    code, said = read_first(["lessons", "run"], 0, cwd=folder)
    assert code == 141
    assert "Traceback" not in said


def test_a_pipe_that_breaks_elsewhere_is_a_fault(monkeypatch):
    def broken(arguments):
        raise BrokenPipeError

    monkeypatch.setattr(cli, "_run", broken)
    with pytest.raises(BrokenPipeError):
        cli.main(["bench"])


WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from mmlite.cli import main
sys.exit(main(sys.argv[1:]))
"""
NOTEBOOKS = (
    "nbformat",
    "nbclient",
    "jupyterlab",
    "ipykernel",
    "matplotlib",
    "ipywidgets",
    "IPython",
)


def run_without(missing, *command, cwd=ROOT):
    """Run a command where some packages are not installed."""
    environment = os.environ | {"MMLITE_DEVICE": "cpu"}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=list(missing)), *command],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
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
    assert "pip install nbformat nbclient" in done.stderr


def test_lab_says_that_jupyterlab_is_missing(tmp_path):
    done = run_without(["jupyterlab"], "lab", cwd=course(tmp_path, "1"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "this command needs jupyterlab" in done.stderr


# several processes


def options_of_two(out: Path, *more: str) -> list[str]:
    given = ["--recipe", "fashion-laptop", "--method", "metamask", "--out", str(out), "--quiet"]
    small = {"--images": 96, "--batch-size": 31, "--dim": 8, "--hidden": 8, "--projection": 4}
    numbers = [str(word) for pair in small.items() for word in pair]
    return ["-m", "mmlite", "train", *given, *numbers, *more]


def test_torchrun_trains_one_run_in_two_processes(tmp_path):
    environment = os.environ | {"MMLITE_DEVICE": "cpu"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    out = tmp_path / "run"
    for more in (["--dry-run"], ["--epochs", "2"]):
        command = torchrun + options_of_two(out, *more)
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        # the first process alone speaks
        if more == ["--dry-run"]:
            assert done.stdout.count("processes 2, with 15 to 16 images of a batch each") == 1
            assert not out.exists()
        else:
            assert done.stdout.count("kNN") == 1
    assert [json.loads(line)["epoch"] for line in (out / "log.jsonl").open()] == [1, 2]


def test_a_killed_process_stops_the_other_with_a_sentence(tmp_path):
    out, processes, port = tmp_path / "run", [], several.free_port()
    for rank in range(2):
        joining = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = os.environ | {name: str(value) for name, value in joining.items()}
        processes.append(
            subprocess.Popen(
                [sys.executable, *options_of_two(out, "--epochs", "500")],
                env=environment | {"MMLITE_DEVICE": "cpu", "OMP_NUM_THREADS": "1"},
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        until = time.monotonic() + 300
        while not (out / "last.pt").exists():
            assert time.monotonic() < until
            assert processes[0].poll() is None
            time.sleep(0.05)
        processes[1].kill()
        _, said = processes[0].communicate(timeout=300)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert processes[0].returncode == 1
    assert "mmlite, process 0: another process has stopped or does not answer" in said
    assert "With --resume the run goes on from its last checkpoint" in said
    assert cli.main(["evaluate", str(out)]) == 0  # its checkpoint is whole
