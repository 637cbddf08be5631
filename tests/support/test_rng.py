"""Random states: what is drawn after a state was put back is what was drawn before."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from mmlite.support.rng import RngState, own_generators

CPU = torch.device("cpu")


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.generators = {
            "torch": torch.Generator().manual_seed(1),
            "numpy": [np.random.default_rng(1)],
            "philox": np.random.Generator(np.random.Philox(1)),
            "old": np.random.RandomState(1),
            "python": random.Random(1),
            "system": random.SystemRandom(),
        }


def draw(layer):
    """Return a number from every generator, a Gaussian where it remembers the next one."""
    own = layer.generators
    return [
        float(torch.rand(1)),
        random.gauss(0, 1),
        np.random.randn(),  # noqa: NPY002
        float(torch.rand(1, generator=own["torch"])),
        own["numpy"][0].random(),
        own["philox"].random(),
        own["old"].randn(),
        own["python"].gauss(0, 1),
    ]


@pytest.mark.parametrize("through_a_file", [False, True])
def test_a_state_put_back_draws_again_what_it_drew(through_a_file, tmp_path):
    layer = Layer()
    draw(layer)
    own = own_generators(layer)
    assert len(own) == 5  # what asks the system has no state
    state = RngState.now(CPU, own)
    if through_a_file:
        from mmlite.training.checkpoints import load_checkpoint, save_checkpoint

        save_checkpoint(tmp_path / "c.pt", {"random": state.state_dict()}, {})
        kept = load_checkpoint(tmp_path / "c.pt").state["random"]
        state = RngState.from_state_dict(kept, CPU, own_generators(layer))
    drawn = draw(layer)
    assert draw(layer) != drawn
    for _ in range(2):  # the state is not used up
        state.restore()
        assert draw(layer) == drawn


def test_generators_that_are_others_than_there_were_are_left_alone():
    layer = Layer()
    kept = RngState.now(CPU, own_generators(layer)).state_dict()
    del layer.generators["philox"]
    state = RngState.from_state_dict(kept, CPU, own_generators(layer))
    layer.generators["torch"].manual_seed(7)
    state.restore()
    assert len(state.own) == 4


def test_a_generator_that_a_closure_holds_is_found_once():
    generator = np.random.default_rng(0)
    assert own_generators(lambda: generator.random(), lambda: generator) == [generator]
