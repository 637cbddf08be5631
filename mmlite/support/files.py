"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a draft beside a file, which takes the file's place once it is written.

        with replacing(path) as draft:
            draft.write_text(text)

    A reader finds the old file or the new one, and never half of one. If the writing fails, the
    draft goes and the old file stays.

    Args:
        path: the file; its folder is there.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    draft = path.with_name(f".{path.name}.part")
    try:
        yield draft
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
