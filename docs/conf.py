"""Settings of Sphinx. Build the pages: uv run --group docs sphinx-build -W -b html docs build/docs."""

from __future__ import annotations

import re
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
_CODE = re.compile(r"(?<!`)`((?:[^`\n]|\n(?!\s*\n))+)`(?!`)")

project = "callframe"
author = "The callframe developers"
copyright = author  # noqa: A001 - the name that Sphinx reads
release = version = installed_version("callframe")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_nb"]
exclude_patterns = ["_build"]
default_role = "py:obj"  # the single backticks of docstrings: links where they name something, code where they do not
suppress_warnings = ["mystnb.unknown_mime_type"]

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
autosummary_generate = False
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # the default loads widgets from the network

html_theme = "pydata_sphinx_theme"
html_title = "callframe"
html_static_path = ["_static"]
html_css_files = ["callframe.css"]
html_show_sourcelink = False
html_sidebars: dict[str, list[str]] = {"index": [], "glossary": [], "changelog": []}
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_nav_level": 2,
}


def copy_notebooks() -> None:
    """Copy the notebooks beside the pages, since Sphinx reads nothing outside its folder."""
    copies = HERE / "notebooks"
    copies.mkdir(exist_ok=True)
    for notebook in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
        content, copy = notebook.read_bytes(), copies / notebook.name
        if not copy.exists() or copy.read_bytes() != content:  # an equal copy keeps its time, and is not rendered again
            copy.write_bytes(content)


def quote_code(*event: Any) -> None:
    """Write what single backticks enclose as code unless it is a name: the default role would shorten `..._above`."""
    lines: list[str] = event[-1]
    lines[:] = _CODE.sub(_name_or_code, "\n".join(lines)).split("\n")


def _name_or_code(match: re.Match[str]) -> str:
    text = " ".join(match[1].split())
    return f"`{text}`" if re.fullmatch(r"[A-Za-z_][\w.]*\w", text) else f"``{text}``"


def setup(app: Sphinx) -> None:
    """Add what this file does to the build."""
    copy_notebooks()
    app.connect("autodoc-process-docstring", quote_code, priority=100)
