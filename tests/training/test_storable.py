"""What is saved can be read back, and what cannot is refused by its place."""

import collections
import datetime
import enum
import functools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from mmlite.data import ImageSet
from mmlite.training import Checkpointing, fit
from mmlite.training.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from mmlite.training.storable import ARRAY, plain, to_file


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


Pair = collections.namedtuple("Pair", "a b")


class Tagged(torch.Tensor):
    """A tensor of another class, as torchvision has them."""


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        kept = isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape
        return kept and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
    if isinstance(a, dict):
        pairs = zip(a.items(), b.items(), strict=True)
        return all(same(k, m) and same(v, w) for (k, v), (m, w) in pairs)
    if isinstance(a, (list, tuple)):
        return isinstance(b, type(a) if type(a) in (list, tuple) else tuple) and all(
            same(one, other) for one, other in zip(a, b, strict=True)
        )
    return a == b or (a != a and b != b)


KINDS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(),
    st.binary(),
    st.sets(st.integers()),
    st.floats(width=32).map(np.float32),
    st.floats(width=16).map(np.float16),
    st.floats().map(np.float64),
    st.integers(0, 255).map(np.uint8),
    st.booleans().map(np.bool_),
    st.text().map(np.str_),
    st.complex_numbers().map(np.complex128),
    arrays.arrays(
        st.sampled_from(
            ["?", "u1", "<i4", ">i4", "<u4", "<u8", "f2", "<f4", "<f8", "<c8", "<U3", "S2"]
        ),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    ),
    st.lists(st.floats(width=32), max_size=4).map(torch.tensor),
    st.sampled_from(
        [
            torch.float16,
            torch.device("cpu"),
            torch.Size([2, 3]),
            torch.tensor(3, dtype=torch.uint8),
            torch.zeros(0, 2),
            nn.Parameter(torch.ones(2)),
            torch.ones(2).as_subclass(Tagged),
            np.arange(6).reshape(2, 3).T,
            np.arange(6)[::-2],
        ]
    ),
)
NESTS = st.recursive(
    KINDS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.tuples(inner, inner).map(lambda two: Pair(*two)),
        st.dictionaries(
            st.one_of(st.text(), st.integers(), st.just(np.int64(3))), inner, max_size=3
        ),
        st.dictionaries(st.text(), inner, max_size=3).map(collections.OrderedDict),
        st.dictionaries(st.text(), inner, max_size=3).map(
            lambda one: collections.defaultdict(list, one)
        ),
        st.dictionaries(st.text(), st.integers(), max_size=3).map(collections.Counter),
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(NESTS)
def test_what_is_saved_comes_back_equal(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "kinds.pt"
    save_checkpoint(path, {"value": value}, {})
    assert same(value, load_checkpoint(path).state["value"])


REFUSED = [
    Path("a"),
    Color.RED,
    Level.LOW,
    len,
    lambda: 0,
    functools.partial(len),
    datetime.date(2026, 1, 1),
    np.datetime64("2026-01-01"),
    np.array([object()]),
    np.zeros(1, dtype=[("a", "f4")]),
    np.array(["2026-01-01"], dtype="datetime64[D]"),
    range(3),
    collections.deque([1]),
    frozenset({1}),
    object(),
    torch.Generator(),
    np.random.default_rng(0),
    nn.Linear(1, 1),
    ImageSet,
]


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("place", [lambda v: v, lambda v: [v], lambda v: {"b": (1, v)}])
def test_what_would_not_come_back_is_refused_by_its_place(tmp_path, value, place):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"kept": 1}, {})
    with pytest.raises(ValueError, match=r"state\['value'\].* a checkpoint cannot hold that; hold"):
        save_checkpoint(path, {"value": place(value)}, {})
    assert load_checkpoint(path).state == {"kept": 1}


def test_a_nest_without_end_and_the_mark_of_arrays_are_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(ValueError, match="nested without end"):
        to_file(loop)
    with pytest.raises(ValueError, match="marks arrays"):
        to_file({ARRAY: 1})


def test_a_state_dict_keeps_its_versions():
    state = nn.BatchNorm1d(2).state_dict()
    made = to_file(state)
    assert type(made) is collections.OrderedDict
    assert made._metadata == state._metadata


@pytest.mark.parametrize("value", [math.nan, [math.nan, 1.0], (1, (math.nan,))])
def test_a_description_with_nan_is_its_own(tmp_path, value):
    save_checkpoint(tmp_path / "c.pt", {}, {"x": value})
    load_checkpoint(tmp_path / "c.pt").check({"x": value})
    with pytest.raises(CheckpointError, match="x is"):
        load_checkpoint(tmp_path / "c.pt").check({"x": 1.0})


@pytest.mark.parametrize("value", [Path("a"), Color.RED, {}, np.zeros(2), len, {1}])
def test_a_description_takes_no_more_than_it_can_compare(value):
    with pytest.raises(ValueError, match=r"x is .*, and a run is described by numbers"):
        plain({"x": value})


def test_a_description_takes_named_tuples_and_numpys_booleans():
    assert plain({"x": Pair(np.int8(1), np.bool_(True))}) == {"x": (1, True)}


# through fit


class Holds:
    def __init__(self, value):
        self.value = value

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def run(path, **options):
    pixels = torch.randint(0, 256, (8, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    images = ImageSet(pixels.to(torch.uint8), torch.zeros(8, dtype=torch.int64), ("a",))
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    calls = []

    def loss(network, batch, generator):
        calls.append(1)
        return network(batch.float() / 255).square().mean()

    saved = {name: options.pop(name) for name in ("every", "extra_state") if name in options}
    options = {"epochs": 2, "batch_size": 4, "progress": False} | options
    checkpoint = Checkpointing(path, resume=True, **saved)
    return fit(network, loss, images, checkpoint=checkpoint, **options), calls


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": np.logspace(-4, -2, 3)[1]},
        {"learning_rate": np.float32(1e-3), "weight_decay": np.float64(0.1)},
        {"warmup": np.float64(0.5), "seed": np.int64(3), "batch_size": np.int32(4)},
        {"epochs": np.uint8(2), "every": np.int64(1)},
        {"extra_state": {"x": Holds(np.arange(3.0))}},
        {"extra_state": {"x": Holds(collections.defaultdict(list, a=[np.float32(1)]))}},
        {"description": {"rate": np.float32(0.1), "n": np.int64(3), "nan": math.nan}},
        {"before_step": lambda optimizer: optimizer.param_groups[0].update(lr=np.float64(0.01))},
        {
            "before_step": lambda optimizer: optimizer.param_groups[0].update(
                betas=(np.float64(0.9), 0.9)
            )
        },
    ],
    ids=lambda options: "-".join(options),
)
def test_what_fit_saves_it_can_read(tmp_path, options):
    path = tmp_path / "last.pt"
    whole, _ = run(tmp_path / "other.pt", **options)
    assert len(whole.loss) == 4
    with pytest.raises(KeyboardInterrupt):
        run(path, **options | {"on_epoch": lambda epoch: (_ for _ in ()).throw(KeyboardInterrupt)})
    again, calls = run(path, **options)
    assert again.loss == whole.loss
    assert len(calls) == 2


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_what_fit_could_not_read_is_refused_before_the_first_step(tmp_path, value):
    calls = []

    def never(optimizer):
        calls.append(1)

    given = [{"extra_state": {"x": Holds({"a": [value]})}}]
    if not isinstance(value, int):  # as 1 it describes a run
        given.append({"description": {"x": value}})
    for options in given:
        with pytest.raises(ValueError, match="x"):
            run(tmp_path / "last.pt", before_step=never, **options)
    assert not calls
    assert not (tmp_path / "last.pt").exists()
