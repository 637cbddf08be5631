"""Torchrun's variables: what they tell, and what is no number."""

import pytest

from mmlite.distributed import check_joined
from mmlite.support import torchrun

ALL = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture
def variables(monkeypatch):
    for name in (*ALL, "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)

    def put(given):
        for name, value in given.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.mark.parametrize(("told", "number"), [("", 1), (" ", 1), ("1", 1), ("16", 16)])
def test_the_world_size_is_a_number_and_one_where_it_is_empty(variables, told, number):
    assert torchrun.world_size() == 1
    variables({"WORLD_SIZE": told})
    assert torchrun.world_size() == number


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_PORT"])
@pytest.mark.parametrize("value", ["two", "-1", "1.0", "²"])
def test_a_variable_that_is_no_number_is_named(variables, name, value):
    variables(ALL | {name: value})
    with pytest.raises(ValueError, match=f"the variable {name} must be a whole number"):
        torchrun.local_rank() if name == "LOCAL_RANK" else torchrun.check_variables()


def test_a_rank_beyond_the_world_is_told(variables):
    variables(ALL)
    torchrun.check_variables()
    variables({"RANK": "2"})
    with pytest.raises(ValueError, match="RANK is 2, but WORLD_SIZE is 2"):
        torchrun.check_variables()


def test_processes_that_have_not_joined_are_refused(variables):
    check_joined()
    variables(ALL)
    with pytest.raises(
        ValueError, match=r"call fit within mmlite.distributed.process_group\(device\)"
    ):
        check_joined()
