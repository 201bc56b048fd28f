"""The notebooks that come with callframe, copied to a folder of the user's and opened in JupyterLab."""

from __future__ import annotations

import importlib
import importlib.resources
from pathlib import Path
from typing import TYPE_CHECKING

from callframe.errors import CallframeError, FileError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.resources.abc import Traversable

FIRST = "01_quickstart.ipynb"
"""The notebook to open first."""

_NEEDED = {"jupyterlab": "JupyterLab", "starlette": "the embedded service", "uvicorn": "the embedded service"}


def check_installed() -> None:
    """
    Make sure that notebooks can be opened and run.

    Raises
    ------
    CallframeError
        JupyterLab, or what the embedded service needs, is not installed.
    """
    for module, what in _NEEDED.items():
        try:
            importlib.import_module(module)
        except ModuleNotFoundError:
            message = f"The notebooks need {what}; install it: pip install 'callframe[notebook,demo]'"
            raise CallframeError(message) from None


def copy(folder: Path) -> list[str]:
    """
    Copy the notebooks into a folder; a file that is there already is never written to.

    Parameters
    ----------
    folder
        Where to; made if need be.

    Returns
    -------
    kept
        Names of those that were there already and differ from the ones that come with callframe.

    Raises
    ------
    FileError
        The folder or a file in it cannot be made or read.
    """
    kept = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for notebook in originals():
            content, path = notebook.read_bytes(), folder / notebook.name
            try:
                with path.open("xb") as new:
                    new.write(content)
            except FileExistsError:
                if path.read_bytes() != content:
                    kept.append(notebook.name)
    except OSError as error:
        where = error.filename or folder
        raise FileError(f"The notebooks cannot be copied to {where}: {error.strerror}. Choose another --dir.") from None
    return kept


def originals() -> list[Traversable]:
    """
    Find the notebooks: within the installed package, or beside it in a checkout.

    Returns
    -------
    notebooks
        By name.

    Raises
    ------
    FileError
        There are none.
    """
    package = importlib.resources.files("callframe")
    for place in (package / "notebooks", Path(str(package)).parent / "notebooks"):
        found = [one for one in place.iterdir() if one.name.endswith(".ipynb")] if place.is_dir() else []
        if found:
            return sorted(found, key=lambda one: one.name)
    raise FileError("The notebooks are missing from this installation of callframe; install it anew.")


def run(folder: Path, options: Sequence[str] = ()) -> None:
    """
    Open JupyterLab on a folder; returns when it is ended by Ctrl-C, SIGTERM or its own menu.

    Parameters
    ----------
    folder
        What it shows, and all it shows.
    options
        Further options of `jupyter lab`.

    Raises
    ------
    SystemExit
        JupyterLab did not start; it has said why.
    """
    from jupyterlab.labapp import LabApp  # noqa: PLC0415 - needs an extra

    ours = [
        f"--ServerApp.root_dir={folder.resolve()}",
        f"--LabApp.default_url=/lab/tree/{FIRST}",
        "--ServerApp.answer_yes=True",  # Ctrl-C ends it, without a question
    ]
    LabApp.launch_instance([*ours, *options])
