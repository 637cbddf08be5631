"""What the public names' docstrings promise: an example that runs, and every argument told of."""

import doctest
import inspect
import re

import pytest
import torch
from torch import nn

import mmlite
from mmlite.course import progress


@pytest.mark.parametrize("name", mmlite.__all__)
def test_the_example_gives_what_it_says(name, monkeypatch):
    monkeypatch.setattr(progress, "_session", {})  # other tests pass exercises
    names = {"mmlite": mmlite, "torch": torch, "nn": nn, "__name__": __name__}
    parser, said = doctest.DocTestParser(), []
    example = parser.get_doctest(inspect.getdoc(getattr(mmlite, name)), names, name, None, 0)
    assert example.examples, f"{name} has no example"
    torch.manual_seed(0)
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert "".join(said) == ""


def told(thing) -> set[str]:
    """Return the arguments that a docstring has a line for, those of a class's parents too."""
    parents = inspect.getmro(thing) if inspect.isclass(thing) else [thing]
    texts = [inspect.getdoc(one) or "" for one in parents if one is not object]
    return {
        argument
        for text in texts
        for section in re.findall(r"(?ms)^(?:Args|Attributes):\n(.*?)(?:^\S|\Z)", text)
        for argument in re.findall(r"(?m)^    \**(\w+): ", section)
    }


@pytest.mark.parametrize("name", mmlite.__all__)
def test_every_argument_has_a_line_of_its_own(name):
    thing = getattr(mmlite, name)
    assert set(inspect.signature(thing).parameters) <= told(thing)
