"""A JupyterLab of a course's own, a browser on it, and what a student does there."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmlite.course.widget_state import VIEW

ROOT = Path(__file__).resolve().parents[1]
MINUTE = 60_000.0  # milliseconds: what is waited for is a condition, so a wait may be long
LINK = r"http://(?:localhost|127\.0\.0\.1):\d+/lab/\S*token=\w+"
SIZES = (800, 1280, 1440)  # pixels
EXPOSED = "--LabApp.expose_app_in_browser=True"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def browser_path() -> str | None:
    """Return a Chromium of this machine, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def pages(**more) -> Iterator:
    """Open a browser, and yield what makes a page; `more` goes to the browser's context."""
    from playwright.sync_api import sync_playwright

    # a container's root may use no sandbox, and what is opened is ours
    options = ["--no-sandbox", "--disable-dev-shm-usage"]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path(), args=options)
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **more})
        try:
            yield context.new_page
        finally:
            browser.close()


@contextmanager
def running_lab(
    course: Path, *options: str, environment: dict[str, str] | None = None, stdin=subprocess.DEVNULL
) -> Iterator[tuple[subprocess.Popen, Path]]:
    """Run `mmlite lab` in a course, with nothing of its user's own; yield it and its log."""
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "MMLITE_PROGRESS")
    settings = {name: value for name, value in os.environ.items() if name not in hidden}
    settings |= {
        "JUPYTER_RUNTIME_DIR": str(course / "runtime"),
        "JUPYTER_CONFIG_DIR": str(course / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(course / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(course / "workspaces"),
        "IPYTHONDIR": str(course / "ipython"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        **(environment or {}),
    }
    log = course / "log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "mmlite", "lab", *options],
            cwd=course,
            env=settings,
            stdin=stdin,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield server, log
    finally:
        server.terminate()  # its kernels with it
        try:
            server.wait(timeout=60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_for_link(log: Path, server: subprocess.Popen, seconds: float = 300) -> str:
    """Return the link that `mmlite lab` prints."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = re.search(LINK, log.read_text())
        if found:
            return found[0]
        assert server.poll() is None, f"JupyterLab stopped:\n{log.read_text()}"
        time.sleep(0.2)
    raise AssertionError(f"no link after {seconds} s:\n{log.read_text()}")


# What runs in the page; `jupyterapp` is there because of EXPOSED.
PANEL = "window.jupyterapp.shell.currentWidget"
READY = f"""() => {{
    const panel = window.jupyterapp && {PANEL};
    return panel && panel.context && panel.context.isReady && panel.content.widgets.length > 0
        && panel.sessionContext.session?.kernel?.status === 'idle';
}}"""
DONE = f"""() => {PANEL}.content.widgets.every(cell => cell.model.type !== 'code'
        || !cell.model.sharedModel.getSource().trim() || cell.model.executionCount)
    && {PANEL}.sessionContext.session.kernel.status === 'idle'"""
WITH_WIDGETS = f"""() => {PANEL}.content.widgets.map((cell, place) => [cell, place])
    .filter(([cell]) => cell.model.type === 'code' && cell.model.outputs.toJSON().some(
        output => output.data && '{VIEW}' in output.data))
    .map(([cell, place]) => place)"""
DRAWN = "() => !document.body.textContent.includes('Loading widget')"
SHOW = f"""async place => {{
    {PANEL}.content.activeCellIndex = place;
    await {PANEL}.content.scrollToItem(place);
}}"""


def open_notebook(page, link: str) -> None:
    """Open what a link leads to, and wait for its kernel."""
    page.goto(link)
    page.wait_for_function(READY, timeout=5 * MINUTE)


def open_with_widgets(page, link: str) -> None:
    """Open a notebook that was saved with its widgets, again if JupyterLab has missed them.

    It looks two seconds for a widget's state, and says "model not found" for good where the state
    came as they ended (`get_model` of jupyterlab_widgets 3.0.17): one time in twenty on a machine
    with much to do. A student reloads the page.
    """
    for _ in range(4):
        open_notebook(page, link)
        page.wait_for_function(DRAWN, timeout=MINUTE)
        if not page.get_by_text("Error displaying").count():
            return
    raise AssertionError("the state of widgets is not there")


def run_all(page) -> None:
    """Run every cell, and wait for the last one."""
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_function(DONE, timeout=30 * MINUTE)


def save(page) -> None:
    """Save, and wait until nothing is left to be saved."""
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function(f"() => !{PANEL}.context.model.dirty", timeout=MINUTE)


def change(page) -> None:
    """Write a blank into the first cell and do not run it: the notebook wants to be saved."""
    source = f"{PANEL}.content.widgets[0].model.sharedModel"
    page.evaluate(f"() => {source}.setSource({source}.getSource() + ' ')")
    page.wait_for_function(f"() => {PANEL}.context.model.dirty", timeout=MINUTE)


def stop_kernel(page) -> None:
    """Shut the notebook's kernel down, as a night does."""
    page.evaluate(f"async () => {{ await {PANEL}.sessionContext.shutdown(); }}")


def cells_with_widgets(page) -> Iterator:
    """Scroll to each cell that shows a widget, and yield it."""
    for place in page.evaluate(WITH_WIDGETS):
        page.evaluate(SHOW, place)
        cell = page.locator(".jp-Notebook-cell.jp-mod-active")
        cell.locator(".jp-OutputArea img").first.wait_for(timeout=MINUTE)
        yield cell


def move_each_slider(cell) -> int:
    """Move each slider and choice of a cell by one, wait for another picture; return how many."""
    from playwright.sync_api import expect

    cell.locator(".noUi-handle, select").first.wait_for(timeout=MINUTE)
    picture = cell.locator(".jp-OutputArea img").first
    moved = 0
    for slider in cell.locator(".noUi-handle, select").all():
        before = picture.get_attribute("src")
        if slider.evaluate("one => one.tagName") == "SELECT":
            options = slider.locator("option").all_inner_texts()
            slider.select_option(options[-1] if slider.input_value() != options[-1] else options[0])
        else:
            ends = [slider.get_attribute(f"aria-value{which}") for which in ("now", "max")]
            slider.press("ArrowLeft" if ends[0] == ends[1] else "ArrowRight")
        expect(picture).not_to_have_attribute("src", before, timeout=5 * MINUTE)
        moved += 1
    return moved


def views_without_picture(notebook: Path) -> list[str]:
    """Return the cells that hold a widget's view, and no picture for where no kernel runs."""
    bare = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        shown = [output.get("data", {}) for output in cell.get("outputs", [])]
        views = sum(VIEW in data for data in shown)
        pictures = sum("<img" in "".join(data.get("text/html", "")) for data in shown)
        bare += [cell["id"]] * (views > pictures)
    return bare


def take_pictures(page, name: str) -> None:
    """Keep what the page shows at several widths, if somebody wants to look at it."""
    if folder := os.environ.get("MMLITE_SCREENSHOTS"):
        for width in SIZES:
            page.set_viewport_size({"width": width, "height": 900})
            page.screenshot(path=Path(folder, f"{name}-{width}.png"))


def three_days(course: Path, name: str, **environment: str) -> tuple[Path, int]:
    """Run a lesson of a course, save it, move its sliders; open and save it on two more days.

    Returns the notebook as it was saved when it had run, and how many sliders were moved.
    """
    lab = running_lab(course, name[:2], EXPOSED, environment=environment)
    with lab as (server, log), pages() as new_page:
        link = wait_for_link(log, server)
        page = new_page()
        open_notebook(page, link)
        run_all(page)
        save(page)
        mine = course / "work" / f"{name}.ipynb"
        first = shutil.copy(mine, course / "day-one.ipynb")
        moved = sum(move_each_slider(cell) for cell in cells_with_widgets(page))
        take_pictures(page, f"{name}-one")
        save(page)
        assert views_without_picture(mine) == []
        for day in ("two", "three"):
            stop_kernel(page)
            page.close()
            page = new_page()
            open_with_widgets(page, link)
            for cell in cells_with_widgets(page):  # each with its picture
                cell.locator(".noUi-handle, select").first.wait_for(timeout=MINUTE)
            assert page.get_by_text("Error displaying").count() == 0
            take_pictures(page, f"{name}-{day}")
            change(page)
            save(page)
    return first, moved
