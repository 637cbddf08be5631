"""Sphinx's settings for the site; `mmlite site` puts its sources together and calls it."""

project = "mmlite"
author = "the mmlite authors"
html_title = "mmlite"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]

# Lessons show the outputs that they are stored with.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3

# Docstrings are plain text with Google's sections; a name in backquotes is code.
default_role = "literal"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_use_ivar = True

# Nothing on the site comes from elsewhere: MathJax is one file, copied beside the style.
mathjax_path = "tex-svg.js"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_theme = "pydata_sphinx_theme"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navbar_start": ["navbar-logo"],
    "navbar_center": [],
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": [],
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
    "show_version_warning_banner": False,
}
html_sidebars = {"**": ["search-field", "globaltoc"]}


def setup(app) -> None:
    """Leave the fields of named tuples out, which their class describes."""

    def skip(app, what, name, thing, skipped, options):
        return True if (thing.__doc__ or "").startswith("Alias for field number") else None

    app.connect("autodoc-skip-member", skip)
