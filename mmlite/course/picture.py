"""A picture with alternative text, as a notebook shows it and a screen reader speaks it."""

import base64
import html
import io
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmlite.support import checks

DOTS_PER_INCH = 80


class Picture:
    """A figure drawn once, with its alternative text.

    Attributes:
        png: the image's bytes.
        alt: what the picture shows, in a sentence.
    """

    def __init__(self, figure: Figure, alt: str) -> None:
        checks.instance("figure", figure, Figure, "a matplotlib Figure")
        if not checks.text("alt", alt).strip():
            raise ValueError("a picture needs alternative text: say in a sentence what it shows")
        self.alt = alt
        buffer = io.BytesIO()
        FigureCanvasAgg(figure)
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight")
        self.png = buffer.getvalue()

    def save(self, path: str | Path) -> None:
        """Write the picture as a PNG file."""
        checks.path("path", path).write_bytes(self.png)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        # JupyterLab drops the alt text of image/png outputs, so the picture goes in as HTML.
        code = base64.b64encode(self.png).decode()
        return {
            "text/html": f'<img alt="{html.escape(self.alt)}" src="data:image/png;base64,{code}">',
            "text/plain": f"Picture: {self.alt}",
        }
