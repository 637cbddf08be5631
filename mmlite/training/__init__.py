"""The training loop that every lesson shares, and the checkpoints that a run goes on from."""

from mmlite.training.checkpoints import CheckpointError
from mmlite.training.fit import History, Loss, TrainingError, fit, warmup_cosine

__all__ = ["CheckpointError", "History", "Loss", "TrainingError", "fit", "warmup_cosine"]
