"""Settings of the documentation site: `make docs` builds it."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT)]

import _docstrings
import _made_pages

import coala_jax

project = "coala_jax"
author = "the coala_jax developers"
copyright = "the coala_jax developers, Apache-2.0"
version = release = coala_jax.__version__
html_title = f"coala_jax {version}"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
html_theme = "furo"
html_theme_options = {"navigation_with_keys": True}
html_copy_source = False

# Names in docstrings stand in single backticks: code, and a link where the name is known.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
add_module_names = False
napoleon_use_rtype = False
napoleon_use_ivar = True

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
# Notebooks come with their outputs; tests run them.
nb_execution_mode = "off"

_made_pages.copy_pages(sorted((ROOT / "notebooks").glob("*.ipynb")), HERE / "notebooks", ROOT)
_made_pages.copy_pages((ROOT / name for name in _made_pages.ROOT_PAGES), HERE / "project", ROOT)
_made_pages.write_reference(coala_jax, HERE / "api")


def relink(app, name, source):
    """Links of a page that is not made here to files outside docs/."""
    page = Path(app.env.doc2path(name))
    if page.parent == HERE:
        source[0] = _made_pages.relinked(source[0], page, page, ROOT)


def setup(app):
    """What is done with pages and docstrings as they are read."""
    app.connect("source-read", relink)
    app.connect("autodoc-skip-member", _docstrings.skip_fields)
    app.connect("autodoc-process-docstring", _docstrings.escape_bars)
    app.connect("doctree-read", _docstrings.leave_bare_names)
    app.connect("missing-reference", _docstrings.find_public)
