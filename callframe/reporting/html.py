"""How text becomes HTML: everything escaped, no control characters."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

import jinja2

from callframe.formatting import printable


@functools.cache
def environment() -> jinja2.Environment:
    """Make what renders templates: it escapes everything, and takes control characters out of all text."""
    return jinja2.Environment(
        autoescape=True,
        loader=jinja2.FunctionLoader(file),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str and not value.isprintable() else value,
    )


def file(name: str) -> str:
    """Read a file that lies beside this one."""
    return resources.files("callframe.reporting").joinpath(name).read_text(encoding="utf-8")


def render_part(name: str, *values: Any) -> str:
    """
    Render one part of a page.

    Parameters
    ----------
    name
        A macro of `parts.html`.
    *values
        What it takes.

    Returns
    -------
    html
        With all text escaped.
    """
    macro = getattr(environment().get_template("parts.html").module, name)
    return str(macro(*values))
