"""The log of a run: one line of JSON an epoch."""

import json
import warnings
from pathlib import Path
from typing import Any

from mmlite.support.files import replacing
from mmlite.training.checkpoints import CheckpointWarning, WriteError


class Log:
    """One line of JSON for each epoch. A resumed run takes back the lines of epochs it repeats."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, line: dict[str, Any]) -> None:
        """Add a line.

        Raises:
            WriteError: the disk is full, say. The log does not change.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            kept = [text for epoch, text in self._lines() if epoch < line["epoch"]]
            with replacing(self.path) as draft:
                draft.write_text("\n".join([*kept, json.dumps(line), ""]), encoding="utf-8")
        except OSError as error:
            raise WriteError(
                f"the log {self.path} cannot be written ({error.strerror}); make room there. The "
                "last checkpoint is unharmed"
            ) from error

    def _lines(self) -> list[tuple[int, str]]:
        """Return the log's lines with their epochs; a damaged log is set aside."""
        if not self.path.exists():
            return []
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
            return [(int(json.loads(line)["epoch"]), line) for line in lines]
        except (ValueError, KeyError, TypeError):  # no UTF-8, no JSON, no epoch
            aside = self.path.with_name(f"{self.path.name}.damaged")
            self.path.replace(aside)
            warnings.warn(
                f"the log {self.path} is damaged; it is kept as {aside.name}, and another begins",
                CheckpointWarning,
                stacklevel=2,
            )
            return []
