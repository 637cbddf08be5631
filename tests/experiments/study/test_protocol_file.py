"""A protocol: what is read, its checksum, and what is refused with the key that is wrong."""

import hashlib

import pytest
import studies

from mmlite.experiments.study.protocol import Difference, Reading
from mmlite.experiments.study.protocol_file import ProtocolError, read_protocol


def test_a_protocol_says_what_its_file_says(tmp_path):
    found = studies.protocol(tmp_path)
    assert (found.name, found.version, found.validation) == ("Does it help?", 1, 64)
    assert list(found.arms) == ["untrained", "joint", "mask", "frozen"]
    assert found.seeds == (10, 11, 12, 13)
    assert found.tuning.configurations[1] == {"learning_rate": 0.004, "temperature": 0.1}
    masked = Reading("mask", "kNN", "masked")
    assert found.primary == (
        Difference("clean", masked, Reading("joint", "kNN", "whole")),
        Difference("clean", masked, Reading("mask", "kNN", "shuffled")),
    )
    assert [str(one) for one in found.primary] == [
        "mask masked − joint whole, kNN",
        "mask masked − shuffled, kNN",
    ]
    assert len(found.secondary) == 3
    expected = hashlib.sha256(studies.TEXT.encode()).hexdigest()
    assert expected.startswith(found.checksum)
    assert len(found.checksum) == 16


def test_a_checksum_is_of_the_text_alone(tmp_path):
    unix = studies.protocol(tmp_path)
    windows = tmp_path / "windows.toml"
    windows.write_bytes(studies.TEXT.replace("\n", "\r\n").encode())
    assert read_protocol(windows).checksum == unix.checksum
    changed = studies.protocol(tmp_path, ("margin = 0.01", "margin = 0.02"))
    assert changed.checksum != unix.checksum


def test_an_arm_s_numbers_go_before_a_configuration_s_and_these_before_the_world_s(tmp_path):
    found = studies.protocol(
        tmp_path, ("numbers = { epochs = 2 }", "numbers = { epochs = 2, temperature = 0.9 }")
    )
    recipe = found.recipe_of("clean", "joint", 1)
    assert (recipe.epochs, recipe.temperature, recipe.learning_rate) == (2, 0.9, 0.004)
    assert (recipe.jitter, recipe.gray, recipe.background) == (0.0, 0.0, None)
    assert found.recipe_of("clean", "mask", 1).temperature == 0.1
    assert found.recipe_of("clean", "untrained", None).epochs == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "Does it help?"', "", "the protocol has no name"),
        ('name = "Does it help?"', "name = 3", "name must be a string, got 3"),
        ("version = 1", "version = 0", "version must be a whole number of at least 1, got 0"),
        ("changes = []", "chnges = []", "a key of the protocol must be one of .*, got 'chnges'"),
        ("changes = []", "changes = 'none'", "changes must be a list"),
        ('data = "fashion"\n', "", "recipe has no data"),
        ("images = 96", "images = 2", "images must be a whole number of at least 4"),
        ("epochs = 1\n", "epoch = 1\n", "a key of recipe must be one of .*, got 'epoch'"),
        ("epochs = 1\n", 'epochs = "one"\n', "epochs must be a whole number"),
        ("validation = 64", "validation = 0", "images.validation must be a whole number"),
        ("jitter = 0.0, ", "jiter = 0.0, ", "a key of worlds.clean.numbers .*, got 'jiter'"),
        ("outer = {", "outr = {", "a key of worlds.clean must be one of .*, got 'outr'"),
        ('about = "first weights"\n', "", "arms.untrained: .*about"),
        ("jitter = 0.8", "jitter = 9", "jitter must be a number from 0 to 2, got 9"),
        ('"joint"\nnum', '"simsiam"\nnum', "arms.joint.method must be one of .*, got 'simsiam'"),
        ('"lookahead"', '"fast"', "arms.mask.schedule must be one of paper, lookahead"),
        (
            'schedule = "lookahead"',
            'gradient = "unrolled"',
            "arms.mask.gradient must be one of exact, first-order, finite-difference",
        ),
        ('schedule = "lookahead"', 'judged_on = "both"', "arms.mask.judged_on must be one of"),
        ('_of = "mask"', '_of = "joint"', "arms.frozen.shuffled_mask_of must be one of mask"),
        (
            "numbers = { epochs = 2 }",
            'shuffled_mask_of = "mask"',
            "arms.joint.method must be metamask",
        ),
        ('world = "clean"\nfirst', 'world = "dirty"\nfirst', "tuning.world must be one of clean"),
        (
            "first_seeds = [0, 1]",
            "first_seeds = []",
            "first_seeds must be a list of seeds, 1 or",
        ),
        ("first_seeds = [0, 1]", "first_seeds = [0, 0]", "tuning.first_seeds holds a seed twice"),
        ("first_seeds = [0, 1]", "first_seeds = [0, -1]", r"tuning.first_seeds\[1\] must be"),
        ("more_seeds = [2]", "more_seeds = [1]", "seed 1 stands in tuning.first_seeds and in"),
        ("finalists = 2", "finalists = 4", "tuning.finalists must be a whole number from 1 to 3"),
        ("[0.004, 0.1]", "[0.004]", r"configurations\[1\] must have a number for each of the 2"),
        ('"temperature"]', '"heat"]', "a key of tuning.settings .*, got 'heat'"),
        ("[0.004, 0.1]", "[0.004, -1.0]", "temperature must be a finite number greater than 0"),
        ("seeds = [10, 11, 12, 13]", "seeds = [10, 2]", "share seed 2"),
        (
            "seeds = [10, 11, 12, 13]",
            "seeds = [10]",
            "main.seeds must be a list of seeds, 2 or",
        ),
        ('worlds = ["clean"]', 'worlds = ["dirty"]', r"main.worlds\[0\] must be one of clean"),
        ("level = 0.025", "level = 2", "primary.level must be a number greater than 0 and less"),
        ("margin = 0.01", "margin = 0", "primary.margin must be a .*number greater than 0"),
        ('["mask", "kNN", "masked"]\nab', '["mask", "kNN"]\nab', "a reading must be"),
        ('[["joint", "kNN", "whole"], ["m', '[["joint", "knn", "whole"], ["m', "the reader of"),
        ('[["joint", "kNN", "whole"], ["m', '[["join", "kNN", "whole"], ["m', "the arm of a"),
        (
            '[["joint", "kNN", "whole"], ["m',
            '[["joint", "kNN", "masked"], ["m',
            "the reading of arm joint must be one of whole, standardized, whitened, got 'masked'",
        ),
        ('["clean", ["mask", "kNN", "whitened"],', '[["mask", "kNN", "whitened"],', "secondary"),
        ("[recipe]", "[recipe", "is no TOML file"),
    ],
)
def test_a_protocol_that_cannot_be_run_is_refused_by_the_key(tmp_path, old, new, message):
    with pytest.raises(ProtocolError, match=message) as caught:
        studies.protocol(tmp_path, (old, new))
    assert "small.toml" in str(caught.value)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path):
    with pytest.raises(ProtocolError, match=r"nowhere\.toml cannot be read: No such file"):
        read_protocol(tmp_path / "nowhere.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ProtocolError, match="is no TOML file"):
        read_protocol(tmp_path / "bytes.toml")
    with pytest.raises(ProtocolError, match="cannot be read: Is a directory"):
        read_protocol(tmp_path)
