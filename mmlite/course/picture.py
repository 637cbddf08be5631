"""A picture with alternative text, as a notebook shows it and a screen reader speaks it."""

import base64
import html
import io
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mmlite.support import checks

SHOWN, DRAWN = 80, 160  # dots per inch: as large as on paper, and sharp where a screen has twice


class Picture:
    """A figure drawn once, with its alternative text.

    Attributes:
        png: the image's bytes.
        width: in which it is shown, in a page's pixels; the image has twice as many.
        alt: what the picture shows, in a sentence.
    """

    def __init__(self, figure: Figure, alt: str) -> None:
        checks.instance("figure", figure, Figure, "a matplotlib Figure")
        if not checks.text("alt", alt).strip():
            raise ValueError("a picture needs alternative text: say in a sentence what it shows")
        self.alt = alt
        drawn, small = io.BytesIO(), io.BytesIO()
        FigureCanvasAgg(figure)
        figure.savefig(drawn, format="png", dpi=DRAWN, bbox_inches="tight")
        image = Image.open(drawn)
        self.width = round(image.width * SHOWN / DRAWN)
        # 256 colors are enough for a figure, and a third of the bytes
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "png")
        self.png = small.getvalue()

    def save(self, path: str | Path) -> None:
        """Write the picture as a PNG file."""
        checks.path("path", path).write_bytes(self.png)

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        # JupyterLab drops the alt text of image/png outputs, so the picture goes in as HTML.
        code = base64.b64encode(self.png).decode()
        shown = f'<img alt="{html.escape(self.alt)}" width="{self.width}"'
        return {
            "text/html": f'{shown} src="data:image/png;base64,{code}">',
            "text/plain": f"Picture: {self.alt}",
        }
