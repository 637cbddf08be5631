"""The site in a browser, from its folder and without a network."""

import pytest
from labs import MINUTE, ROOT, browser_path, pages

from mmlite.course.site import build_site

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not browser_path(), reason="no Chromium here: the site's pages"),
    pytest.mark.xdist_group("site"),  # built once
]
LESSON = "lessons/06_theory.html"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return build_site(ROOT, tmp_path_factory.mktemp("pages") / "site").parent


@pytest.fixture(scope="module")
def new_page():
    with pages(offline=True) as new_page:
        yield new_page


@pytest.fixture
def visit(site, new_page):
    def visit(place: str):
        page = new_page()
        faults = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("requestfailed", lambda request: faults.append(request.url))
        page.goto((site / place).as_uri())
        page.wait_for_load_state("load")
        assert faults == []
        return page

    return visit


@pytest.mark.parametrize("path", sorted((ROOT / "lessons").glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_lessons_sliders_move_its_pictures_by_the_keyboard(visit, path):
    page = visit(f"lessons/{path.stem}.html")
    dials = page.locator(".dial")
    assert dials.count() >= 1
    assert page.get_by_text("Dial:").count() == 0
    for dial in dials.all():
        picture = dial.locator("img")
        for slider in dial.get_by_role("slider").all():
            before = [picture.get_attribute(name) for name in ("src", "alt")]
            at_the_end = slider.input_value() == slider.get_attribute("max")
            told = slider.get_attribute("aria-valuetext")
            slider.press("ArrowLeft" if at_the_end else "ArrowRight")
            assert picture.get_attribute("src") != before[0]
            assert len(picture.get_attribute("alt")) >= 20
            assert slider.get_attribute("aria-valuetext") != told
            assert picture.evaluate("one => one.decode().then(() => one.naturalWidth > 100)")


def test_equations_are_drawn(visit):
    page = visit(LESSON)
    page.locator("mjx-container svg").first.wait_for(timeout=MINUTE)
    assert page.locator("mjx-merror").count() == 0


def test_the_search_finds_a_lesson(visit):
    page = visit("index.html")
    page.get_by_role("searchbox").first.fill("whitening")
    page.get_by_role("searchbox").first.press("Enter")
    # Sphinx writes one hit after the other, so the lesson's may not be there with the first.
    found = page.locator("#search-results li").filter(has_text="confounder")
    found.first.wait_for(timeout=MINUTE)


def test_the_next_lesson_is_a_click_away(visit):
    page = visit("lessons/01_contrastive.html")
    page.locator("a.right-next").click()
    page.wait_for_url("**/02_redundancy.html")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("place", ["index.html", LESSON, "glossary.html", "api/theory.html"])
def test_nothing_serious_bars_anybody(visit, place, theme):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(place)
    page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    found = Axe().run(page).response["violations"]
    grave = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["html"]) for one in grave] == []


def test_a_printed_page_has_no_bars_and_no_sliders(visit):
    page = visit(LESSON)
    page.emulate_media(media="print")
    for part in (".bd-header", ".bd-sidebar-primary", ".dial label"):
        assert not page.locator(part).first.is_visible()
    assert page.locator(".dial img").first.is_visible()
