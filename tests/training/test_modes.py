"""Modes of a model's parts, before, within and after training."""

import copy

import pytest
import torch
from torch import nn

from mmlite.data import ImageSet
from mmlite.training import fit
from mmlite.training.modes import TrainingModes


def part(**options):
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, **options), nn.Dropout(0.5))


def model():
    return nn.Sequential(nn.Flatten(), part(), part())


def modes(module):
    return [m.training for m in module.modules()]


def images():
    pixels = torch.randint(0, 256, (20, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    return ImageSet(pixels.to(torch.uint8), torch.zeros(20, dtype=torch.int64), ("a",))


def loss(network, batch, generator):
    return network(batch.float() / 255).square().mean()


def train(network, **options):
    fit(network, loss, images(), epochs=3, batch_size=5, progress=False, **options)


def test_all_of_a_model_in_evaluation_mode_trains():
    network = model().eval()
    TrainingModes(network)
    assert all(modes(network))


def test_a_frozen_part_in_evaluation_mode_stays_with_all_within_it():
    network = model()
    network[1].requires_grad_(False).eval()
    before = copy.deepcopy(network[1].state_dict())
    train(network)
    assert not any(modes(network[1]))
    assert all(modes(network[2]))
    after = network[1].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_frozen_part_in_training_mode_stays_there():
    network = model()
    network[1].requires_grad_(False)
    before = network[1][1].running_mean.clone()
    train(network)
    assert all(modes(network))
    assert not torch.equal(before, network[1][1].running_mean)


def test_a_part_that_is_trained_is_put_into_training_mode():
    network = model()
    network[1].eval()  # after a look at it
    TrainingModes(network)
    assert all(modes(network))


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm1d(4, affine=False)])
def test_a_part_without_parameters_that_alone_is_in_evaluation_mode_stays(layer):
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), copy.deepcopy(layer).eval())
    TrainingModes(network)
    assert modes(network) == [True, True, True, False]
    TrainingModes(network.eval())
    assert all(modes(network))


def test_a_modules_own_train_is_called():
    class Trunk(nn.Sequential):
        def train(self, mode=True):
            super().train(mode)
            self[1].eval()  # a usual way to keep BatchNorm's statistics
            return self

    network = nn.Sequential(nn.Flatten(), Trunk(*part()))
    TrainingModes(network)
    assert modes(network) == [True, True, True, True, False, True]


@pytest.mark.parametrize("name", ["before_step", "after_step", "on_epoch"])
@pytest.mark.parametrize("method", ["eval", "train"])
def test_modes_are_put_back_after_each_hook(name, method):
    network = model()
    network[1].requires_grad_(False).eval()
    seen = []

    def watched(network, batch, generator):
        seen.append(modes(network))
        return loss(network, batch, generator)

    hook = {name: lambda argument: getattr(network, method)()}
    fit(network, watched, images(), epochs=3, batch_size=5, progress=False, **hook)
    assert len(seen) == 12
    wanted = [True, True, False, False, False, False, True, True, True, True]
    assert all(one == wanted for one in seen)
    assert modes(network) == wanted


def test_a_part_that_a_hook_freezes_stays_as_it_left_it():
    network = model()
    seen = []

    def freeze(epoch):
        seen.append(copy.deepcopy(network[1].state_dict()))
        if epoch == 1:
            network[1].requires_grad_(False).eval()

    train(network, on_epoch=freeze)
    assert not any(modes(network[1]))
    assert all(modes(network[2]))
    first, second, third = seen
    assert all(torch.equal(second[name], third[name]) for name in second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_part_that_a_hook_releases_trains():
    network = model()
    network[1].requires_grad_(False).eval()
    seen = []

    def release(epoch):
        seen.append(copy.deepcopy(network[1].state_dict()))
        if epoch == 2:
            network[1].requires_grad_(True)

    train(network, on_epoch=release)
    assert all(modes(network))
    first, second, third = seen
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(second["0.weight"], third["0.weight"])
    assert not torch.equal(second["1.running_mean"], third["1.running_mean"])
    assert not torch.equal(second["1.weight"], third["1.weight"])
