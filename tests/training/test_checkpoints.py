"""Checkpoints: what is written comes back, and what is damaged or foreign is named."""

import os
import random
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from mmlite.training.checkpoints import (
    CheckpointError,
    CheckpointWarning,
    WriteError,
    alone,
    exists,
    load_checkpoint,
    previous_path,
    save_checkpoint,
)

RUN = {"method": "simclr", "epochs": 3, "seed": 0}


def state(step: int) -> dict:
    generator = torch.Generator().manual_seed(step)
    weight = torch.randn(8, 3, 3, 3, generator=generator)
    return {
        "weight": weight.contiguous(memory_format=torch.channels_last),
        "random": torch.get_rng_state(),
        "nested": [{"step": step, "name": None, "betas": (0.9, 0.999)}],
    }


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) and a.stride() == b.stride() and a.dtype == b.dtype
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "last.pt"


def test_what_is_saved_comes_back_with_its_memory_format(path):
    wanted = state(1)
    save_checkpoint(path, wanted, RUN)
    found = load_checkpoint(path)
    assert same(found.state, wanted)
    assert (found.description, found.path, found.note) == (RUN, path, "")
    assert [file.name for file in path.parent.iterdir()] == ["last.pt"]


def test_the_one_before_is_kept_and_no_more(path):
    for step in range(3):
        save_checkpoint(path, state(step), RUN)
    assert same(load_checkpoint(path).state, state(2))
    assert same(load_checkpoint(previous_path(path)).state, state(1))
    assert sorted(file.name for file in path.parent.iterdir()) == ["last.previous.pt", "last.pt"]


@pytest.mark.parametrize("moment", ["fsync", "first replace", "second replace"])
def test_a_stop_at_any_point_of_a_save_leaves_a_good_one(path, monkeypatch, moment):
    for step in range(2):
        save_checkpoint(path, state(step), RUN)
    replace, calls = os.replace, []

    def stop(*arguments):
        raise KeyboardInterrupt

    def stop_at_replace(*arguments):
        calls.append(arguments)
        if len(calls) == ["first replace", "second replace"].index(moment) + 1:
            raise KeyboardInterrupt
        replace(*arguments)

    if moment == "fsync":
        monkeypatch.setattr(os, "fsync", stop)
    else:
        monkeypatch.setattr(os, "replace", stop_at_replace)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, state(2), RUN)
    monkeypatch.undo()
    assert exists(path)
    found = load_checkpoint(path)
    assert same(found.state, state(1))
    assert found.note == ""  # the file itself is there at every moment
    save_checkpoint(path, state(3), RUN)  # what the stop left behind is in nobody's way
    assert same(load_checkpoint(path).state, state(3))


def test_no_damage_goes_unseen(path):
    """A flipped byte is either reported or changes nothing that is read."""
    save_checkpoint(path, state(0), RUN)
    whole, seen, draw = path.read_bytes(), 0, random.Random(0)
    for position in draw.sample(range(len(whole)), 300):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            found = load_checkpoint(path)
        except CheckpointError as error:
            seen += str(path) in str(error)
        else:
            assert same(found.state, state(0))
            assert found.description == RUN
    assert seen > 290  # of the rest, a byte of the digest's name is one


def test_every_flipped_byte_falls_back_to_the_one_before_or_changes_nothing(path):
    save_checkpoint(path, {"a": torch.tensor([1, 2, 3, 4])}, RUN)
    save_checkpoint(path, {"a": torch.tensor([5, 6, 7, 8])}, RUN)
    whole = path.read_bytes()
    for position in range(len(whole)):
        for mask in (0x01, 0x08, 0x10, 0xFF):
            damaged = bytearray(whole)
            damaged[position] ^= mask
            path.write_bytes(damaged)
            found = load_checkpoint(path)
            assert found.state["a"].tolist() == ([1, 2, 3, 4] if found.note else [5, 6, 7, 8])


def test_a_description_is_stored_in_plain_values_or_refused(path):
    given = {"rate": np.float64(0.5), "epochs": np.int64(2), "crop": (np.float32(0.5), 1.0)}
    save_checkpoint(path, {}, given)
    found = load_checkpoint(path)
    found.check(given)
    assert [type(value) for value in found.description.values()] == [float, int, tuple]
    with pytest.raises(ValueError, match=r"folder is .*Path.*, and a run is described by"):
        save_checkpoint(path, {}, {"folder": path})


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.98])
def test_a_file_cut_short_falls_back_to_the_one_before(path, share):
    for step in range(2):
        save_checkpoint(path, state(step), RUN)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    found = load_checkpoint(path, set_aside=True)
    assert same(found.state, state(0))
    assert f"{path} is damaged" in found.note
    assert "going on from the one before it, last.previous.pt" in found.note
    save_checkpoint(path, state(2), RUN)  # the damaged file is not put in the good one's place
    assert (path.parent / "last.pt.damaged").exists()
    path.unlink()
    assert same(load_checkpoint(path).state, state(0))


def test_without_a_good_file_the_sentence_says_what_there_is(path):
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*last.pt; name an"):
        load_checkpoint(path)
    save_checkpoint(path, state(0), RUN)
    path.write_bytes(b"not an archive")
    with pytest.raises(CheckpointError, match=r"last.pt is damaged .*no earlier one beside it"):
        load_checkpoint(path)
    previous_path(path).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"damaged .*, and .*previous.pt is damaged \(it is"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="is a folder"):
        load_checkpoint(path.parent)


class Harmful:
    def __reduce__(self):
        return (os.mkdir, ("harm",))


def test_foreign_files_are_refused_and_run_no_code(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path.parent.mkdir()
    torch.save({"weight": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match=r"last.pt is not a checkpoint of mmlite: torch can"):
        load_checkpoint(path)
    torch.save({"format": "mmlite checkpoint", "version": 1, "state": Harmful()}, path)
    with pytest.raises(
        CheckpointError, match=r"\(it holds code beside the data; none of it was run\)"
    ):
        load_checkpoint(path)
    assert not (tmp_path / "harm").exists()
    torch.save({"format": "mmlite checkpoint", "version": 9}, path)
    with pytest.raises(CheckpointError, match="format 9, and this version of mmlite reads format"):
        load_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match="is not a checkpoint of mmlite"):
        load_checkpoint(path)


def test_another_runs_checkpoint_is_refused_by_its_differences(path):
    save_checkpoint(path, state(0), RUN)
    found = load_checkpoint(path)
    found.check(dict(RUN))
    with pytest.raises(CheckpointError, match="'simclr' there and 'metamask' here; epochs is 3"):
        found.check({"method": "metamask", "epochs": 4, "seed": 0})
    with pytest.raises(CheckpointError, match="size is 'not set' there and None here"):
        found.check(RUN | {"size": None})


def test_a_path_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written"):
        save_checkpoint(tmp_path / "file" / "last.pt", state(0), RUN)
    with (
        pytest.raises(CheckpointError, match="could not be written"),
        alone(tmp_path / "file" / "last.pt"),
    ):
        raise AssertionError("not reached")


def test_a_disk_that_is_full_leaves_the_last_one_and_nothing_half_written(path):
    save_checkpoint(path, state(1), RUN)
    code = f"""
import resource, signal, sys, torch
from mmlite.training.checkpoints import WriteError, save_checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint({str(path)!r}, {{"x": torch.zeros(100_000)}}, {{}})
except WriteError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout
    assert [one.name for one in path.parent.iterdir()] == ["last.pt"]
    assert load_checkpoint(path).note == ""


def test_one_run_at_a_time(path):
    with alone(path):
        with pytest.raises(CheckpointError, match="another run is going on"), alone(path):
            raise AssertionError("not reached")
        with alone(path.with_name("other.pt")):
            pass
    with alone(path):
        pass


def test_a_lock_ends_with_its_process(path):
    code = f"""
import os, time
from mmlite.training.checkpoints import alone
with alone({str(path)!r}):
    print("held", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(CheckpointError, match="another run is going on"), alone(path):
            raise AssertionError("not reached")
        other.kill()
    with alone(path):
        pass


def test_a_file_system_without_locks_is_told_and_used(path, monkeypatch):
    def refuse(self, **options):
        raise NotImplementedError

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.warns(CheckpointWarning, match="has no locks"), alone(path):
        pass
