"""The call history of Cognite Data Fusion Functions as one typed pandas DataFrame."""

# The public names are in __init__.pyi. Each is imported when it is first used: pandas takes longer than `callframe
# --help` may, and matplotlib as long again.

import sys
from importlib.metadata import version

import lazy_loader

import callframe.errors  # noqa: F401 - so that callframe.errors can be used at once

__version__ = version("callframe")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]

if "IPython" in sys.modules:
    from callframe.reporting.notebook import show_in_notebooks

    show_in_notebooks()
