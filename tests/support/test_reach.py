"""What a function can lay its hands on, by every way that a loss may hold a module."""

import functools
import random

import torch
from torch import nn

from mmlite.support.reach import MOST, held_by

KEPT = nn.Linear(2, 2)  # of this file's globals


class Holder:
    def __init__(self, module, depth=0):
        self.parts = {"a": [module]} if not depth else {"a": [Holder(module, depth - 1)]}

    def loss(self, z1, z2):
        return z1


class Outer(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.plain = [module]  # which modules() does not know

    def forward(self, z1, z2):
        return z1


def ways(module):
    """Return functions that hold a module, each in another way."""

    def with_default(z1, z2, m=module):
        return m(z1)

    def with_keyword(z1, z2, *, m=module):
        return m(z1)

    return {
        "itself": module,
        "its method": module.forward,
        "closure": lambda z1, z2: module(z1),
        "closure in a closure": (lambda f: lambda z1, z2: f(z1))(lambda z: module(z)),
        "partial": functools.partial(lambda m, z1, z2: m(z1), module),
        "default": with_default,
        "keyword": with_keyword,
        "method of an object": Holder(module).loss,
        "plain list of a module": Outer(module),
        "object in a closure": (lambda holder: lambda z1, z2: holder.loss(z1, z2))(Holder(module)),
    }


def test_a_module_is_found_whatever_way_it_is_held():
    module = nn.Linear(2, 2)
    for name, way in ways(module).items():
        found = held_by([way], nn.Module)
        assert any(one is module for one in found), name
        assert len({id(one) for one in found}) == len(found)


def test_a_deep_network_is_searched_to_its_end():
    last = nn.Linear(2, 2)
    last.draw = random.Random(0)
    network = last
    for _ in range(30):
        network = nn.Sequential(nn.ReLU(), network)
    assert held_by([network], random.Random) == [last.draw]
    assert len(held_by([lambda z: network(z)], nn.Linear)) == 1


def test_a_global_name_that_a_function_uses_is_found():
    assert held_by([lambda z: KEPT(z)], nn.Module)[0] is KEPT
    assert held_by([lambda z: z], nn.Module) == []


def test_kinds_are_told_apart_and_loops_end():
    draw = random.Random(1)
    loop = [draw]
    loop.append(loop)
    assert held_by([loop], random.Random) == [draw]
    assert held_by([loop], (torch.Generator, nn.Module)) == []


def test_a_name_without_a_value_and_a_great_list_cost_nothing():
    def early(z):
        return late(z)

    assert held_by([early], nn.Module) == []
    many = [object() for _ in range(10 * MOST)]
    assert held_by([many, KEPT], nn.Module) == [KEPT]

    def late(z):
        return z


def test_a_function_without_a_module_is_looked_through():
    """As of code that `exec` ran, a doctest's for instance."""
    scope = {"held": KEPT}
    exec("def loss(z1, z2):\n    return held(z1)", scope)
    scope["loss"].__module__ = None
    assert held_by([scope["loss"]], nn.Module) == [KEPT]
