"""Links in Markdown."""

import re
from pathlib import Path


def local(text: str) -> list[str]:
    """Return the targets of a text's links that are files."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in targets if not target.startswith("https://")]


def leading_nowhere(text: str, folder: Path) -> list[str]:
    """Return the targets that no file is at, of a text that lies in a folder."""
    return [target for target in local(text) if not (folder / target).exists()]


def unlinked_preprints(text: str) -> list[str]:
    """Return the numbers of preprints that stand in a text without a link to them."""
    named = re.findall(r"(.?)arXiv[: ](\d{4}\.\d{5})", text)
    return [
        number
        for before, number in named
        if before != "[" or f"[arXiv {number}](https://arxiv.org/abs/{number})" not in text
    ]
