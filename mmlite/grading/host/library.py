"""What of `mmlite` an answer may use while its lesson is marked.

All of it would hold the references. So a lesson gets the sources of the modules that hold none of
its own or of a later lesson, and a stand-in for each of the others. In lesson 02, say, `nt_xent` is
there and `cross_correlation` says that it is what exercise 02.1 asks for.
"""

from pathlib import Path

from mmlite.exercises import all_exercises

PACKAGE = Path(__file__).resolve().parents[2]
# Each module that answers may import, and the first lesson whose answers may: the one after the
# lesson that asks for something in it.
FROM = {
    "": "01",
    "support": "01",
    "support.autocast": "01",
    "support.checks": "01",
    "support.columns": "01",
    "support.devices": "01",
    "support.scaling": "01",
    "support.shell": "01",
    "support.progress": "01",
    "support.files": "01",
    "support.errors": "01",
    "support.methods": "01",
    "support.lazy": "01",
    "support.reach": "01",
    "support.rng": "01",
    "support.torchrun": "01",
    "distributed": "01",
    "distributed.batch_norm": "01",
    "distributed.collectives": "01",
    "distributed.group": "01",
    "distributed.shards": "01",
    "datasets": "01",
    "datasets.folder": "01",
    "datasets.known_sets": "01",
    "datasets.tiny_imagenet": "01",
    "data": "01",
    "views": "01",
    "encoders": "01",
    "course": "01",
    "course.claims": "01",
    "course.tables": "01",
    "contrastive": "02",  # 01.4 nt_xent
    "evaluation": "02",  # 01.2 is the vote of `knn_accuracy`
    "whitening": "04",  # what 03.6 asks for
    "statistics": "06",  # 05.4 holm
    "redundancy": "03",  # 02.1 cross_correlation, 02.3 barlow_twins
    "confounders": "04",  # 03.1 class_r2, 03.2 nuisance_r2
    "mask_study": "04",  # 03.3 top_mask
    "pair_mask": "04",  # like `whitening`
    "metamask": "07",  # 04.2 virtual_step, 04.3 meta_gradient
    "metamask.checkpointing": "07",
    "metamask.gradient": "07",
    "metamask.lookahead": "07",
    "metamask.mask": "07",
    "metamask.objective": "07",
    "metamask.trainer": "07",
    "metamask.update": "07",
    "metamask.tangents": "07",
    "theory": "07",
    "theory.account": "07",
    "theory.bounds": "07",
    "training": "02",
    "training.arguments": "02",
    "training.batches": "02",
    "training.checkpoints": "02",
    "training.fit": "02",
    "training.history": "02",
    "training.loading": "02",
    "training.memory": "02",
    "training.modes": "02",
    "training.optimizers": "02",
    "training.precision": "02",
    "training.run": "02",
    "training.schedule": "02",
    "training.state": "02",
    "training.storable": "02",
    "training.watch": "02",
}
# What is never sent, with all below it: the exercises and the grader; what builds lessons from
# masters; costs and plots, which hold answers of lesson 07 or import them; whole runs.
NEVER = {
    *("__main__", "cli", "course.build", "course.notebooks", "course.release", "course.site"),
    *("course.frames", "course.lab_server", "course.own_copies", "course.progress"),
    *("course.forest", "course.picture", "course.plots", "course.waterfall"),
    *("course.widgets", "course.widget_state"),
    *("datasets.make_fashion", "exercises", "experiments", "grading"),
}


def library(lesson: str) -> dict[str, str]:
    """Return the sources that answers of a lesson ("01") may import, by module name."""
    return {
        f"mmlite.{name}".rstrip("."): _file(name).read_text(encoding="utf-8")
        for name, first in FROM.items()
        if lesson >= first
    }


def _file(name: str) -> Path:
    place = PACKAGE.joinpath(*name.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def withheld(lesson: str) -> dict[str, str]:
    """Return for each name that this or a later lesson asks for the sentence that says so."""
    return {
        exercise.home.rpartition(".")[2]: (
            f"{exercise.home} is what exercise {exercise.id} asks you to write"
        )
        for exercise in all_exercises().values()
        if exercise.id[:2] >= lesson
    }
