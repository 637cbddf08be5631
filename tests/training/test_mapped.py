"""Images that lie in a memory-mapped file."""

import re
from pathlib import Path

import numpy as np
import torch
from fitting import equal, model, noisy_loss, pictures

from mmlite import Checkpointing, ImageSet, fit


def anonymous() -> float:
    """Return the MB of memory that no file stands behind."""
    told = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+)", told)[1]) / 1024


def test_a_memory_mapped_file_is_trained_on_without_a_copy(tmp_path):
    shape = (3000, 3, 160, 160)  # 230 MB; the file is sparse, and takes none of the disk
    pixels = torch.from_numpy(np.memmap(tmp_path / "images", np.uint8, "w+", shape=shape))
    held = ImageSet(pixels, torch.full((3000,), -1), ())
    most = []

    def loss(model, batch, generator):
        most.append(anonymous())
        return model(batch[:, :1, :2, :2].float() + 1).square().mean()

    before = anonymous()
    fit(model(), loss, held, epochs=1, batch_size=100, progress=False,
        checkpoint=Checkpointing(tmp_path / "last.pt"))  # fmt: skip
    assert len(most) == 30
    assert max(most) - before < 115  # half of the images; a batch is 8 MB


def test_a_memory_mapped_file_trains_as_memory_does(tmp_path):
    inside = pictures()
    file = np.memmap(tmp_path / "images", np.uint8, "w+", shape=tuple(inside.images.shape))
    file[:] = inside.images.numpy()

    def weights(pixels):
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
        torch.nn.init.constant_(net[1].weight, 0.1)
        torch.nn.init.zeros_(net[1].bias)
        held = ImageSet(pixels, inside.labels, ("a",))
        fit(net, noisy_loss, held, epochs=2, batch_size=6, progress=False)
        return net.state_dict()

    assert equal(weights(torch.from_numpy(file)), weights(inside.images))
