"""`mmlite site`: the lessons, the glossary and the library's pages, to read without installing."""

import argparse
from pathlib import Path

from mmlite.cli.arguments import need, path


def add(commands) -> None:
    """Add the command to the parser's."""
    sites = commands.add_parser(
        "site",
        help="build the pages to read without installing",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Build the lessons as they ran, the glossary and the library's pages into a "
        "folder of static\nfiles, which a browser opens without a server or a network.",
        epilog="example:\n  uv run --group docs mmlite site --out site",
    )
    sites.add_argument("--out", type=path, default=Path("site"), metavar="DIR", help="(site)")
    sites.set_defaults(command=site)


def site(options: argparse.Namespace) -> int:
    """Build the site and say where it is."""
    need("sphinx", "myst_nb", "pydata_sphinx_theme")
    from mmlite.course.notebooks import find_course
    from mmlite.course.site import build_site

    print(build_site(find_course(), options.out))
    return 0
