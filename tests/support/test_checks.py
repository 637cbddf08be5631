"""Checks of arguments: what passes, what is refused, and how the refusal reads."""

import math
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from mmlite.support import checks


@pytest.mark.parametrize("value", [3, np.int64(3), np.int8(3), np.uint16(3)])
def test_a_whole_number_is_pythons_or_numpys_and_comes_back_as_pythons(value):
    assert checks.whole("k", value, 1, 3) == 3
    assert type(checks.whole("k", value)) is int
    assert checks.seed(value) == 3
    assert type(checks.seed(value)) is int


@pytest.mark.parametrize(
    "value",
    [
        *(True, np.True_, 3.0, np.float64(3), "3", None, math.nan, [3], (), 3j, b"3"),
        *(torch.tensor(3), np.array(3), np.array([3]), Fraction(3), object(), int),
    ],
)
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(ValueError, match=r"^k must be a whole number of at least 1, got "):
        checks.whole("k", value, 1)
    with pytest.raises(ValueError, match=r"^seed must be a whole number from 0 to 2⁶³ − 1, got "):
        checks.seed(value)


@pytest.mark.parametrize(
    ("bounds", "value", "message"),
    [
        ((1, 100), 0, "k must be a whole number from 1 to 100, got 0"),
        ((1, 10_000), 10_001, "k must be a whole number from 1 to 10,000, got 10001"),
        ((2, None), 1, "k must be a whole number of at least 2, got 1"),
        ((None, 5), 6, "k must be a whole number of at most 5, got 6"),
        ((), 2.5, "k must be a whole number, got 2.5"),
        ((), np.float32(2.5), "k must be a whole number, got 2.5"),
        ((), "2", "k must be a whole number, got '2'"),
        ((), torch.zeros(2), "k must be a whole number, got a tensor float32 of shape [2]"),
        ((), np.zeros(2), "k must be a whole number, got an array float64 of shape [2]"),
        ((), [1, 2], "k must be a whole number, got a list of 2"),
        ((), object(), "k must be a whole number, got an object"),
    ],
)
def test_a_refusal_of_a_whole_number_in_words(bounds, value, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        checks.whole("k", value, *bounds)


@pytest.mark.parametrize("value", [-1, 2**63, np.uint64(2**63)])
def test_a_seed_beyond_what_torch_takes_is_refused(value):
    with pytest.raises(ValueError, match=rf"2⁶³ − 1, got {int(value)}"):
        checks.seed(value)
    assert checks.seed(2**63 - 1) == 2**63 - 1


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.float16(2), np.int64(2), Fraction(2)])
def test_a_number_comes_back_as_pythons_float(value):
    assert checks.real("t", value) == 2
    assert type(checks.real("t", value)) is float


@pytest.mark.parametrize("value", [True, "2", None, math.nan, np.float32("nan"), [2.0], 2j])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match=r"^t must be a finite number greater than 0, got "):
        checks.real("t", value, above=0)
    with pytest.raises(ValueError, match=r"^t must be a number greater than 0, got "):
        checks.real("t", value, above=0, finite=False)


@pytest.mark.parametrize("value", [torch.tensor(2.0), np.array(2.0), torch.ones(3)])
def test_a_tensor_or_an_array_is_no_number(value):
    with pytest.raises(ValueError, match="t must be a finite number, got a"):
        checks.real("t", value)


@pytest.mark.parametrize(
    "value", [math.inf, -math.inf, np.float64("inf"), 10**400, -(10**400)], ids=range(5)
)
def test_infinities_pass_where_they_may(value):
    with pytest.raises(ValueError, match="t must be a finite number, got "):
        checks.real("t", value)
    assert math.isinf(checks.real("t", value, finite=False))


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "words"),
    [
        ({"least": 0}, [0, 5], [-1e-9], "a finite number of at least 0"),
        ({"above": 0}, [1e-300], [0, -0.0], "a finite number greater than 0"),
        ({"least": 0, "most": 1}, [0, 1], [-0.1, 1.1, math.inf], "a number from 0 to 1"),
        ({"above": 0, "most": 1}, [1], [0], "a number greater than 0 and at most 1"),
        ({"least": 0, "below": 1}, [0], [1], "a number of at least 0 and less than 1"),
        ({"above": 0, "below": 1}, [0.5], [0, 1], "a number greater than 0 and less than 1"),
        ({"most": 3}, [3, -9], [3.5], "a finite number of at most 3"),
        ({"above": 0, "most": 1e30}, [1], [1e31], "a number greater than 0 and at most 1e+30"),
    ],
)
def test_bounds_are_open_or_closed(bounds, inside, outside, words):
    for value in inside:
        assert checks.real("t", value, **bounds) == value
    for value in outside:
        with pytest.raises(ValueError, match=re.escape(f"t must be {words}, got {value!r}")):
            checks.real("t", value, **bounds)


def test_a_path_may_begin_with_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert checks.path("out", "~/runs") == tmp_path / "runs"
    assert checks.path("out", Path("~/runs")) == tmp_path / "runs"
    assert checks.path("out", "a~/b") == Path("a~/b")


@pytest.mark.parametrize("value", ["", "a\0b", b"x", 3, None, True, ["x"]])
def test_what_is_no_path_is_refused(value):
    with pytest.raises(ValueError, match="out must be "):
        checks.path("out", value)


def test_the_folder_of_a_user_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match=r"out is '~nobody-of-this-name/x', and .*; write the"):
        checks.path("out", "~nobody-of-this-name/x")


def test_choices_flags_and_text():
    assert checks.choice("method", "a", ("a", "b")) == "a"
    with pytest.raises(ValueError, match="method must be one of a, b, got 'c'"):
        checks.choice("method", "c", {"a": 1, "b": 2})
    with pytest.raises(ValueError, match="method must be one of a, b, got a list of 1"):
        checks.choice("method", ["a"], ("a", "b"))
    assert checks.flag("resume", np.True_) is True
    with pytest.raises(ValueError, match="resume must be True or False, got 'no'"):
        checks.flag("resume", "no")
    with pytest.raises(ValueError, match="alt must be a string, got None"):
        checks.text("alt", None)


def test_tensors_modules_and_functions():
    z = torch.zeros(2)
    assert checks.tensor("z", z) is z
    with pytest.raises(ValueError, match=r"z must be a tensor, got a list of 1; torch.as_tensor"):
        checks.tensor("z", [1.0])
    with pytest.raises(ValueError, match=r"z must be a tensor, got an array .*; torch.as_tensor"):
        checks.tensor("z", np.zeros(2))
    with pytest.raises(ValueError, match=r"z must be a tensor, got None$"):
        checks.tensor("z", None)
    with pytest.raises(ValueError, match=r"encoder must be a torch.nn.Module, got a function"):
        checks.module("encoder", lambda x: x)
    with pytest.raises(ValueError, match=r"got the class Linear"):
        checks.module("encoder", torch.nn.Linear)
    with pytest.raises(ValueError, match="loss must be a function, got 3"):
        checks.function("loss", 3)


def test_a_long_value_is_cut():
    with pytest.raises(ValueError, match=r"^k must be .{,120}$"):
        checks.whole("k", "x" * 1000)


def test_numbers_are_checked_without_pytorch():
    code = "import sys; from mmlite.support import checks; checks.real('t', 2); checks.shown([])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; sys.exit('torch' in sys.modules)"], capture_output=True
    )
    assert done.returncode == 0, done.stderr
