"""Copy the bundled notebooks to a folder and open them in JupyterLab."""

from __future__ import annotations

import importlib
import importlib.resources
from pathlib import Path
from typing import TYPE_CHECKING

from callframe.errors import CallframeError, FileError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.resources.abc import Traversable

FIRST_NOTEBOOK = "01_quickstart.ipynb"

_REQUIRED = {"jupyterlab": "JupyterLab", "starlette": "the embedded service", "uvicorn": "the embedded service"}


def check_installed() -> None:
    """Raise `CallframeError` unless JupyterLab and the embedded service are installed."""
    for module, name in _REQUIRED.items():
        try:
            importlib.import_module(module)
        except ModuleNotFoundError:
            message = f"The notebooks need {name}; install it: pip install 'callframe[notebook,demo]'"
            raise CallframeError(message) from None


def copy_notebooks(folder: Path) -> list[str]:
    """Copy the notebooks into a folder without overwriting files; return the names of existing files that differ."""
    different = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for notebook in _bundled_notebooks():
            content, path = notebook.read_bytes(), folder / notebook.name
            try:
                with path.open("xb") as copy:
                    copy.write(content)
            except FileExistsError:
                if path.read_bytes() != content:
                    different.append(notebook.name)
    except OSError as error:
        path = error.filename or folder
        raise FileError(f"The notebooks cannot be copied to {path}: {error.strerror}. Choose another --dir.") from None
    return different


def _bundled_notebooks() -> list[Traversable]:
    """Find the notebooks inside the installed package, or next to it in a checkout."""
    package = importlib.resources.files("callframe")
    for folder in (package / "notebooks", Path(str(package)).parent / "notebooks"):
        files = folder.iterdir() if folder.is_dir() else ()
        notebooks = [file for file in files if file.name.endswith(".ipynb")]
        if notebooks:
            return sorted(notebooks, key=lambda notebook: notebook.name)
    raise FileError("The notebooks are missing from this installation of callframe; reinstall it.")


def run_jupyterlab(folder: Path, options: Sequence[str] = ()) -> None:
    """Run JupyterLab with a folder as its root, and more options of `jupyter lab`, until it is stopped."""
    from jupyterlab.labapp import LabApp  # noqa: PLC0415 - needs an extra

    own_options = [
        f"--ServerApp.root_dir={folder.resolve()}",
        f"--LabApp.default_url=/lab/tree/{FIRST_NOTEBOOK}",
        "--ServerApp.answer_yes=True",  # Ctrl-C stops it without a question
    ]
    LabApp.launch_instance([*own_options, *options])
