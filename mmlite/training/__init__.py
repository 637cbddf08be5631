"""The training loop that every lesson shares, and the checkpoints that a run goes on from.

`fit` is the loop, `run` what stands around its steps, `optimizers` what updates the weights;
`state` is what a run goes on from, `arguments` what it is given, `watch` what stops it before NaN
is saved; `checkpoints` writes and reads files.
"""

from mmlite.training.arguments import Checkpointing
from mmlite.training.checkpoints import CheckpointError
from mmlite.training.fit import fit
from mmlite.training.history import History
from mmlite.training.optimizers import parameter_groups
from mmlite.training.run import Loss, StopTraining
from mmlite.training.schedule import warmup_cosine
from mmlite.training.watch import TrainingError

__all__ = [
    "CheckpointError",
    "Checkpointing",
    "History",
    "Loss",
    "StopTraining",
    "TrainingError",
    "fit",
    "parameter_groups",
    "warmup_cosine",
]
