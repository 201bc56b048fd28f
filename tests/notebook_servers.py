"""Real JupyterLab and Voila servers on the loopback address, which know nothing of their user, and pages of theirs."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import matplotlib as mpl
import nbformat
import requests
from chromium import PATIENCE_MS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

Kind = Literal["lab", "voila"]
Theme = Literal["light", "dark"]
Subshells = Literal["disabled", "perComm", "perCommTarget"]

_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "TEMP", "TMP")
_KERNELS = "@jupyterlab/apputils-extension/kernels-settings.jupyterlab-settings"
_SERVER = {
    "ServerApp": {"ip": "127.0.0.1", "port_retries": 0, "open_browser": False, "allow_root": True},
    # without these JupyterLab asks elsewhere for news, extensions and versions
    "LabApp": {
        "expose_app_in_browser": True,
        "news_url": None,
        "extension_manager": "readonly",
        "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    },
}
_PAGE = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}

_READY = """async () => {
    const app = window.jupyterapp;
    await app.restored;
    const { context, sessionContext } = app.shell.currentWidget;
    await context.ready;
    await sessionContext.ready;
    await sessionContext.session.kernel.info;
}"""


@dataclass
class Server:
    """A server that is running, and the folder its notebooks lie in."""

    kind: Kind
    url: str
    token: str
    notebooks: Path
    settings: Path

    def add(self, name: str, *cells: str) -> str:
        """Write a notebook of these cells, and give its name."""
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])  # type: ignore[no-untyped-call]
        made.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(made, self.notebooks / name)  # type: ignore[no-untyped-call]
        return name

    def copy(self, notebook: Path, *more: str) -> str:
        """Copy a notebook, add cells, and give its name."""
        cells = nbformat.read(notebook, as_version=4).cells  # type: ignore[no-untyped-call]
        return self.add(notebook.name, *(cell.source for cell in cells if cell.cell_type == "code"), *more)

    def address(self, place: str, **more: str) -> str:
        """Make the URL of a page."""
        query = "&".join(f"{name}={value}" for name, value in {"token": self.token, **more}.items())
        return f"{self.url}/{place}?{query}"


def show(
    page: Page, server: Server, notebook: str, *, theme: Theme = "light", subshells: Subshells = "perCommTarget"
) -> None:
    """Open a notebook and run all of it; Voila does both at once, and has callbacks in the main thread only."""
    if server.kind == "voila":
        page.goto(server.address(f"voila/render/{notebook}", theme=theme), timeout=PATIENCE_MS)
        return
    file = server.settings / _KERNELS
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"commsOverSubshells": subshells}), encoding="utf-8")
    page.goto(server.address(f"doc/tree/{notebook}", reset=""), timeout=PATIENCE_MS)
    page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext", timeout=PATIENCE_MS)
    page.evaluate(_READY)  # cells that are run before would be lost without a word
    use_theme(page, theme)
    assert page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')"), "A cell failed."


def use_theme(page: Page, theme: Theme) -> None:
    """Show JupyterLab in light or dark colours."""
    name = f"JupyterLab {theme.title()}"
    page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", name)
    light = str(theme == "light").lower()
    page.wait_for_selector(f"body[data-jp-theme-light='{light}']", state="attached", timeout=PATIENCE_MS)


@contextlib.contextmanager
def jupyterlab(folder: Path) -> Iterator[Server]:
    """Run JupyterLab."""
    command = ["jupyterlab", "--ServerApp.port={port}", "--IdentityProvider.token={token}"]
    with _running("lab", [*command, "--ServerApp.root_dir={notebooks}"], folder) as server:
        yield server


@contextlib.contextmanager
def voila(folder: Path) -> Iterator[Server]:
    """Run Voila."""
    command = ["voila", "--no-browser", "--Voila.ip=127.0.0.1", "--port={port}", "--token={token}"]
    with _running("voila", [*command, "{notebooks}"], folder) as server:
        yield server


@contextlib.contextmanager
def _running(kind: Kind, command: list[str], folder: Path) -> Iterator[Server]:
    environment = _environment(folder)
    notebooks, config = folder / "notebooks", folder / "config"
    (config / "labconfig").mkdir(parents=True)
    (config / "jupyter_server_config.json").write_text(json.dumps(_SERVER), encoding="utf-8")
    (config / "labconfig" / "page_config.json").write_text(json.dumps(_PAGE), encoding="utf-8")
    notebooks.mkdir()
    port, token = _free_port(), secrets.token_hex(16)
    words = [word.format(port=port, token=token, notebooks=notebooks) for word in command]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *words], env=environment, cwd=notebooks, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            server = Server(kind, f"http://127.0.0.1:{port}", token, notebooks, folder / "settings")
            _wait_for(server, process, folder / "log.txt")
            yield server
        finally:
            process.terminate()
            process.wait(timeout=30)


def _environment(folder: Path) -> dict[str, str]:
    """Make an environment that knows nothing of the user's own, be it for Jupyter or for a project."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    places = {"CONFIG_DIR": "config", "DATA_DIR": "data", "RUNTIME_DIR": "runtime"}
    labs = {"SETTINGS_DIR": "settings", "WORKSPACES_DIR": "workspaces"}
    return kept | {
        "HOME": str(folder),
        "IPYTHONDIR": str(folder / "ipython"),
        "MPLCONFIGDIR": mpl.get_cachedir(),  # where the fonts are listed already
        **{f"JUPYTER_{name}": str(folder / place) for name, place in places.items()},
        **{f"JUPYTERLAB_{name}": str(folder / place) for name, place in labs.items()},
    }


def _wait_for(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(PATIENCE_MS // 100):
        if process.poll() is not None:
            break
        with contextlib.suppress(requests.ConnectionError):
            requests.get(server.address("api/status"), timeout=30)
            return
        time.sleep(0.1)
    raise AssertionError(f"The server does not answer: {log.read_text(encoding='utf-8')}")


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
    return port
