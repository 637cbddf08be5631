"""A notebook in JupyterLab: sliders moved, saved, opened and saved on the next two mornings.

The lessons go through the same three days in tests/course/test_lessons.py. Screenshots, to be
looked at: MMLITE_SCREENSHOTS=folder uv run pytest tests/browser
"""

import nbformat
import pytest
from labs import browser_path, three_days
from nbformat.v4 import new_code_cell, new_notebook

from mmlite.course.build import KERNEL

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not browser_path(), reason="no Chromium here"),
]
SMALL = """
from ipywidgets import Dropdown, FloatSlider
from mmlite.course import plots, widgets
def draw(a, b):
    return plots.lines([1, 2], {"one": [1, a * len(b)]}, "x", "y", f"a line, {a:.1f} {b}")
widgets.Dial(
    draw,
    "two numbers",
    a=FloatSlider(2.0, min=0, max=2, step=0.1, continuous_update=False),
    b=Dropdown(options=["x", "yy"]),
)
"""
BAR = """
from mmlite.support.progress import progress_bar
with progress_bar("step", 3, title="SimCLR") as bar:
    for _ in range(3):
        bar.update()
print("trained")
"""


def test_sliders_and_bars_on_the_second_day_and_the_third(tmp_path):
    (tmp_path / "lessons").mkdir()
    cells = [new_code_cell(source, id=f"cell-{i}") for i, source in enumerate((SMALL, BAR))]
    notebook = new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
    nbformat.write(notebook, tmp_path / "lessons" / "01_small.ipynb")
    saved, moved = three_days(tmp_path, "01_small")
    assert moved == 2
    outputs = nbformat.read(saved, as_version=4).cells[1].outputs
    assert [output for output in outputs if output.get("data")] == []  # the bar left nothing
    assert "".join(output.get("text", "") for output in outputs) == "trained\n"
