"""`mmlite train` and `evaluate`, in one process and in two."""

import errno
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import several
import torch
from running import options_of_two

from mmlite import cli
from mmlite.training.checkpoints import alone

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
    from mmlite.experiments import parts

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(parts, "fit", stop)
    assert train(tmp_path / "run") == 1
    assert "stopped; the same command with --resume goes on" in capsys.readouterr().err
    monkeypatch.undo()
    assert train(tmp_path / "hot", "--learning-rate", "1e30", "--warmup", "0", "--quiet") != 0
    assert capsys.readouterr().err.startswith("mmlite: ")


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
