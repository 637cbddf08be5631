"""A run that was stopped goes on, and ends bit by bit as one that was not."""

import random
import subprocess
import sys
import time

import interrupted
import pytest
import torch
from fitting import equal, images, model, noisy_loss
from torch import nn

from mmlite.training import Checkpointing, History, fit
from mmlite.training.checkpoints import CheckpointError


@pytest.mark.parametrize("method", ["metamask", "lookahead"])
def test_a_run_in_bfloat16_goes_on_bit_by_bit(tmp_path, method):
    wanted = interrupted.run(method, tmp_path / "whole", every=3, precision="bfloat16")
    with pytest.raises(KeyboardInterrupt):
        interrupted.run(method, tmp_path / "stopped", every=3, stop=8, precision="bfloat16")
    found = interrupted.run(method, tmp_path / "stopped", every=3, precision="bfloat16")
    assert equal(found, wanted)
    assert not equal(found, interrupted.run(method, tmp_path / "float32"))


@pytest.mark.parametrize("method", ["metamask", "lookahead"])
@pytest.mark.parametrize("stop", [1, 6, 8, 20])
def test_a_run_stopped_at_a_step_ends_bit_by_bit_as_one_that_was_not(tmp_path, method, stop):
    wanted = interrupted.run(method, tmp_path / "whole", every=3)
    with pytest.raises(KeyboardInterrupt):
        interrupted.run(method, tmp_path / "stopped", every=3, stop=stop)
    torch.manual_seed(99)  # what a new process begins with must not matter
    found = interrupted.run(method, tmp_path / "stopped", every=3)
    assert len(wanted["loss"]) == 20
    assert equal(found, wanted)
    assert equal(interrupted.run(method, tmp_path / "stopped", every=3), wanted)  # it is done


def test_a_process_killed_at_random_moments_ends_bit_by_bit_as_one_that_was_not(tmp_path):
    command = [sys.executable, interrupted.__file__, "lookahead"]
    whole = subprocess.run(
        [*command, str(tmp_path / "whole"), "1"], capture_output=True, text=True, check=True
    )
    seconds, draw = float(whole.stdout.split()[1]), random.Random(0)
    for _ in range(3):
        process = subprocess.Popen(
            [*command, str(tmp_path / "killed"), "1"], stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"begin\n"
        time.sleep(draw.uniform(0, 0.6 * seconds))
        process.kill()
        process.wait(timeout=60)
        process.stdout.close()
    subprocess.run([*command, str(tmp_path / "killed"), "1"], capture_output=True, check=True)
    found, wanted = (torch.load(tmp_path / name / "final.pt") for name in ("killed", "whole"))
    assert equal(found, wanted)


def test_a_damaged_checkpoint_falls_back_with_a_warning_and_the_run_ends_alike(tmp_path):
    wanted = interrupted.run("metamask", tmp_path / "whole", every=3)
    with pytest.raises(KeyboardInterrupt):
        interrupted.run("metamask", tmp_path / "stopped", every=3, stop=12)
    last = tmp_path / "stopped" / "last.pt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.warns(UserWarning, match=r"last.pt is damaged .*going on from the one before it"):
        found = interrupted.run("metamask", tmp_path / "stopped", every=3)
    assert equal(found, wanted)


def test_a_checkpoint_of_another_run_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "last.pt"
    options = {"epochs": 2, "batch_size": 4, "progress": False, "checkpoint": Checkpointing(path)}
    fit(model(), noisy_loss, images(), **options)
    before = path.read_bytes()
    options["checkpoint"] = Checkpointing(path, resume=True)
    more = Checkpointing(path, resume=True, extra_state={"more": model()})
    with pytest.raises(CheckpointError, match=r"at .*last.pt already; resume=True goes on from it"):
        fit(model(), noisy_loss, images(), **options | {"checkpoint": Checkpointing(path)})
    for change, message in (
        ({"epochs": 3}, "another run: epochs is 2 there and 3 here"),
        ({"description": {"method": "x"}}, "method is 'not set' there and 'x' here"),
        ({"precision": "bfloat16"}, "precision is 'float32' there and 'bfloat16' here"),
        ({"images": images(24)}, "images is 'images 20×1×2×2 .*' there and 'images 24×1×2×2 .*'"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(4, 5))}, "another model or method"),
        ({"checkpoint": more}, "holds another model or method than this run"),
    ):
        arguments = {"model": model(), "loss": noisy_loss, "images": images()} | options | change
        with pytest.raises(CheckpointError, match=message):
            fit(**arguments)
    assert path.read_bytes() == before


@pytest.mark.parametrize("resume", [False, True])
def test_two_runs_do_not_share_a_checkpoint_at_one_time(tmp_path, resume):
    refused = []

    def another(epoch):
        if epoch == 1:  # the first checkpoint is not there yet
            with pytest.raises(CheckpointError, match="another run is going on") as error:
                run(model(), lambda epoch: None, resume)
            refused.append(error)

    def run(network, on_epoch, resume):
        options = {"epochs": 2, "batch_size": 4, "progress": False, "on_epoch": on_epoch}
        checkpoint = Checkpointing(tmp_path / "last.pt", resume=resume)
        return fit(network, noisy_loss, images(), checkpoint=checkpoint, **options)

    history = run(model(), another, resume)
    assert len(refused) == 1
    assert run(model(), lambda epoch: None, True).loss == history.loss


def test_a_history_without_a_run_can_be_looked_at():
    assert repr(History()) == "History(0 steps)"
    assert History().epoch_loss == []
    assert History([1.0, 2.0]).epoch_loss == [1.5]  # one epoch, as far as is known


def test_a_history_can_be_watched_after_each_epoch():
    history, seen = History(), []
    fit(
        model(),
        noisy_loss,
        images(),
        epochs=3,
        batch_size=4,
        history=history,
        on_epoch=lambda epoch: seen.append((epoch, len(history.loss), len(history.epoch_loss))),
        progress=False,
    )
    assert seen == [(1, 5, 1), (2, 10, 2), (3, 15, 3)]


@pytest.mark.gpu
def test_a_run_on_a_gpu_goes_on_with_its_own_random_state(tmp_path):
    network = nn.Sequential(model(), nn.Dropout(0.5)).cuda()
    torch.cuda.manual_seed(0)
    options = {"epochs": 2, "batch_size": 4, "progress": False}
    whole = fit(network, noisy_loss, images(), **options)

    def stop(epoch):
        if epoch == 2:
            raise KeyboardInterrupt

    network = nn.Sequential(model(), nn.Dropout(0.5)).cuda()
    torch.cuda.manual_seed(0)
    options["checkpoint"] = Checkpointing(tmp_path / "last.pt", resume=True)
    with pytest.raises(KeyboardInterrupt):
        fit(network, noisy_loss, images(), on_epoch=stop, **options)
    torch.cuda.manual_seed(99)
    again = fit(network, noisy_loss, images(), **options)
    assert again.loss == pytest.approx(whole.loss, rel=1e-3)
