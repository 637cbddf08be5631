"""The site: built without a warning, its links lead somewhere, and nothing comes from elsewhere."""

import html
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from mmlite import cli
from mmlite.course.notebooks import LessonError
from mmlite.course.site import PAGES, build_site, gather

ROOT = Path(__file__).resolve().parents[2]
LESSONS = sorted(path.stem for path in (ROOT / "lessons").glob("[0-9]*.ipynb"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "site"
    assert build_site(ROOT, folder) == folder / "index.html"  # Sphinx's warnings are errors
    return folder


def pages(site: Path) -> dict[Path, str]:
    """Return the site's pages; the theme leaves a template of its own beside its styles."""
    paths = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    return {path: path.read_text(encoding="utf-8") for path in paths}


@pytest.mark.xdist_group("site")
def test_every_lesson_is_there_with_its_figures_formulas_and_code(site):
    for name in LESSONS:
        text = (site / "lessons" / f"{name}.html").read_text(encoding="utf-8")
        figures = re.findall("<img[^>]*>", text)
        assert len(figures) >= 5
        assert all(len(re.search('alt="([^"]*)"', tag)[1]) >= 20 for tag in figures)
        assert 'class="math' in text
        assert "tex-svg.js" in text
        assert "✓ claim" in text
        assert "BEGIN SOLUTION" not in text


@pytest.mark.xdist_group("site")
def test_the_library_s_pages_show_signatures_and_examples(site):
    for name in PAGES:
        assert (site / "api" / f"{name}.html").exists()
    text = (site / "api" / "contrastive.html").read_text(encoding="utf-8")
    assert 'id="mmlite.contrastive.nt_xent"' in text
    assert "&gt;&gt;&gt; " in text
    assert "Parameters" in text


@pytest.mark.xdist_group("site")
def test_every_link_within_the_site_leads_somewhere(site):
    read = pages(site)
    names = {path: set(re.findall(r'\b(?:id|name)="([^"]+)"', text)) for path, text in read.items()}
    broken, followed = [], 0
    for path, text in read.items():
        for link in re.findall(r'\bhref="([^"]+)"', text):
            place, _, fragment = unquote(html.unescape(link)).partition("#")
            if re.match(r"[a-z]+:", place):
                continue
            target = (path.parent / place.partition("?")[0]).resolve() if place else path.resolve()
            followed += 1
            known = target.exists()
            if known and fragment and target.suffix == ".html":
                known = fragment in names[site / target.relative_to(site.resolve())]
            if not known:
                broken.append((path.name, link))
    assert broken == []
    assert followed > 1000


@pytest.mark.xdist_group("site")
def test_nothing_on_a_page_is_fetched_from_elsewhere(site):
    for path, text in pages(site).items():
        for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", text):
            assert not re.search(r'\b(?:src|href)="(?:https?:)?//', tag), (path.name, tag)
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"url\(\s*['\"]?(?:https?:)?//", text), path.name
        assert not re.search(r"@import\s+['\"]?(?:https?:)?//", text), path.name


@pytest.mark.xdist_group("site")
def test_lessons_link_to_the_library_s_pages(site):
    text = (site / "lessons" / "01_contrastive.html").read_text(encoding="utf-8")
    assert 'href="../api/contrastive.html"' in text
    assert "mmlite/contrastive.py" not in text


def test_a_module_that_a_lesson_links_to_has_a_page(tmp_path):
    gather(ROOT, tmp_path / "sources")
    there = {path.name for path in (tmp_path / "sources" / "api").iterdir()}
    linked = set()
    for path in (tmp_path / "sources" / "lessons").glob("*.ipynb"):
        linked |= set(re.findall(r"\]\(\.\./api/([^)]+)\)", path.read_text(encoding="utf-8")))
    assert len(linked) >= 15
    assert linked <= there


def test_another_folder_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert cli.main(["site", "--out", str(tmp_path)]) == 2
    assert "holds something else than a site" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_without_lessons_there_is_no_site(tmp_path):
    with pytest.raises(LessonError, match="there are no lessons in"):
        build_site(tmp_path, tmp_path / "site")
    assert not (tmp_path / "site").exists()
