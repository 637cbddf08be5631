"""A study's protocol: what is run, what is compared and how it is decided."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mmlite.experiments.recipes import Recipe

UNTRAINED = "untrained"
READERS = ("kNN", "probe", "1 % labels", "10 % labels")
PLAIN_READINGS = ("whole", "standardized", "whitened")
MASKED_READINGS = ("masked", "shuffled", "whitened, masked")
VIEWS = ("inner", "outer")
GRADIENTS = ("exact", "first-order", "finite-difference")


@dataclass(frozen=True)
class World:
    """Where the images differ.

    Attributes:
        about: a line on it.
        numbers: those of the recipe that are this world's own.
        outer: likewise of the outer views.
    """

    about: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    outer: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Arm:
    """What is compared.

    Attributes:
        about: a line on it.
        method: "untrained" or a method of `mmlite train`.
        schedule: of "metamask", as there.
        gradient: of "metamask": "exact", "first-order" or "finite-difference".
        trained_on: the views of training, "inner" or "outer".
        judged_on: likewise the views by which the mask is judged.
        shuffled_mask_of: the arm whose mask, its entries shuffled, stays in place of one that is
            learned.
        numbers: those of the recipe that are this arm's own.
    """

    about: str
    method: str
    schedule: str = "paper"
    gradient: str = "exact"
    trained_on: str = "inner"
    judged_on: str = "inner"
    shuffled_mask_of: str | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def trains(self) -> bool:
        """Whether there is anything to tune."""
        return self.method != UNTRAINED

    @property
    def has_mask(self) -> bool:
        return self.method == "metamask"

    @property
    def readings(self) -> tuple[str, ...]:
        """The readings that there are of this arm."""
        return PLAIN_READINGS + MASKED_READINGS if self.has_mask else PLAIN_READINGS

    @property
    def tuned_by(self) -> str:
        """The reading by which its configuration is chosen."""
        return "masked" if self.has_mask else "whole"


@dataclass(frozen=True)
class Tuning:
    """How each arm's configuration is chosen: the best of the first seeds go on to the others.

    Attributes:
        world: in which.
        first_seeds: of every configuration.
        finalists: how many configurations go on.
        more_seeds: of the finalists.
        configurations: numbers of the recipe.
    """

    world: str
    first_seeds: tuple[int, ...]
    finalists: int
    more_seeds: tuple[int, ...]
    configurations: tuple[Mapping[str, float], ...]


@dataclass(frozen=True, order=True)
class Reading:
    """One number of a run: of which arm, by which reader, and how the representation is read."""

    arm: str
    reader: str
    reading: str

    def __str__(self) -> str:
        return f"{self.arm} {self.reading}, {self.reader}"


@dataclass(frozen=True)
class Difference:
    """A comparison of two readings in one world, a − b."""

    world: str
    a: Reading
    b: Reading

    def __str__(self) -> str:
        if self.a.arm == self.b.arm and self.a.reader == self.b.reader:
            return f"{self.a.arm} {self.a.reading} − {self.b.reading}, {self.a.reader}"
        if self.a.reader == self.b.reader:
            a, b = (f"{one.arm} {one.reading}" for one in (self.a, self.b))
            return f"{a} − {b}, {self.a.reader}"
        return f"{self.a} − {self.b}"


@dataclass(frozen=True)
class Protocol:
    """A study's protocol; `read_protocol` reads one.

    Attributes:
        name: the question.
        version: 1, or more if it was changed.
        changes: what each later version changed, and why.
        checksum: the first 16 digits of the file's SHA-256.
        recipe: what all runs share.
        validation: how many images tuning reads.
        worlds, arms: by name.
        tuning: how configurations are chosen.
        main_worlds, seeds: of the main run.
        primary: the differences that must all be above 0.
        level: of each of their one-sided tests.
        margin: the least difference that would matter.
        secondary: the other differences.
        secondary_level: of their tests, after Holm's correction.
    """

    name: str
    version: int
    changes: tuple[str, ...]
    checksum: str
    recipe: Recipe
    validation: int
    worlds: Mapping[str, World]
    arms: Mapping[str, Arm]
    tuning: Tuning
    main_worlds: tuple[str, ...]
    seeds: tuple[int, ...]
    primary: tuple[Difference, ...]
    level: float
    margin: float
    secondary: tuple[Difference, ...]
    secondary_level: float

    def settings_of(self, arm: str, configuration: int | None) -> dict[str, float]:
        """Return the numbers that are a run's own: the arm's go before the configuration's."""
        tuned = {} if configuration is None else self.tuning.configurations[configuration]
        return {**tuned, **self.arms[arm].numbers}

    def recipe_of(self, world: str, arm: str, configuration: int | None) -> Recipe:
        """Return the recipe of a run: its settings go before the world's numbers."""
        settings = self.settings_of(arm, configuration)
        return self.recipe.replace(**{**self.worlds[world].numbers, **settings})
