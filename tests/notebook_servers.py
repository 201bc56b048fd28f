"""JupyterLab and Voila servers on the loopback address, without the settings of their user."""

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
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
import requests
from chromium import TIMEOUT_MS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

Kind = Literal["lab", "voila"]
Theme = Literal["light", "dark"]
Subshells = Literal["disabled", "perComm", "perCommTarget"]

_KERNEL_SETTINGS = "@jupyterlab/apputils-extension/kernels-settings.jupyterlab-settings"
_SERVER_CONFIG = {
    "ServerApp": {"ip": "127.0.0.1", "port_retries": 0, "open_browser": False, "allow_root": True},
    # without these JupyterLab asks other machines for news, extensions and versions
    "LabApp": {
        "expose_app_in_browser": True,
        "news_url": None,
        "extension_manager": "readonly",
        "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    },
}
_PAGE_CONFIG = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}

_KERNEL_READY = """async () => {
    const app = window.jupyterapp;
    await app.restored;
    const { context, sessionContext } = app.shell.currentWidget;
    await context.ready;
    await sessionContext.ready;
    await sessionContext.session.kernel.info;
}"""


@dataclass
class Server:
    """A running server and the folder of its notebooks."""

    kind: Kind
    url: str
    token: str
    notebooks: Path
    settings: Path

    def add(self, name: str, *cells: str) -> str:
        """Write a notebook with these code cells and return its name."""
        code: dict[str, Any] = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = {
            "nbformat": 4,
            "nbformat_minor": 4,
            "metadata": {"kernelspec": kernel},
            "cells": [{**code, "source": cell} for cell in cells],
        }
        (self.notebooks / name).write_text(json.dumps(notebook), encoding="utf-8")
        return name

    def copy(self, notebook: Path, *cells: str) -> str:
        """Copy the code of a notebook, append cells and return its name."""
        originals = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        sources = ["".join(cell["source"]) for cell in originals if cell["cell_type"] == "code"]
        return self.add(notebook.name, *sources, *cells)

    def page_url(self, path: str, **query: str) -> str:
        """Return the URL of a page, token included."""
        pairs = {"token": self.token, **query}
        return f"{self.url}/{path}?{'&'.join(f'{name}={value}' for name, value in pairs.items())}"


def run_notebook(
    page: Page, server: Server, notebook: str, *, theme: Theme = "light", subshells: Subshells = "perCommTarget"
) -> None:
    """Open a notebook and run all its cells; `subshells` has no effect in Voila."""
    if server.kind == "voila":
        page.goto(server.page_url(f"voila/render/{notebook}", theme=theme), timeout=TIMEOUT_MS)
        return
    file = server.settings / _KERNEL_SETTINGS
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"commsOverSubshells": subshells}), encoding="utf-8")
    page.goto(server.page_url(f"doc/tree/{notebook}", reset=""), timeout=TIMEOUT_MS)
    page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext", timeout=TIMEOUT_MS)
    page.evaluate(_KERNEL_READY)  # JupyterLab silently drops cells that are run earlier
    set_theme(page, theme)
    assert page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')"), "A cell failed."


def set_theme(page: Page, theme: Theme) -> None:
    """Switch JupyterLab to light or dark colours."""
    name = f"JupyterLab {theme.title()}"
    page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", name)
    light = str(theme == "light").lower()
    page.wait_for_selector(f"body[data-jp-theme-light='{light}']", state="attached", timeout=TIMEOUT_MS)


@contextlib.contextmanager
def jupyterlab(folder: Path) -> Iterator[Server]:
    """Run JupyterLab."""
    command = ["jupyterlab", "--ServerApp.port={port}", "--IdentityProvider.token={token}"]
    with _start("lab", [*command, "--ServerApp.root_dir={notebooks}"], folder) as server:
        yield server


@contextlib.contextmanager
def voila(folder: Path) -> Iterator[Server]:
    """Run Voila."""
    command = ["voila", "--no-browser", "--Voila.ip=127.0.0.1", "--port={port}", "--token={token}"]
    with _start("voila", [*command, "{notebooks}"], folder) as server:
        yield server


@contextlib.contextmanager
def _start(kind: Kind, command: list[str], folder: Path) -> Iterator[Server]:
    notebooks, config = folder / "notebooks", folder / "config"
    (config / "labconfig").mkdir(parents=True)
    (config / "jupyter_server_config.json").write_text(json.dumps(_SERVER_CONFIG), encoding="utf-8")
    (config / "labconfig" / "page_config.json").write_text(json.dumps(_PAGE_CONFIG), encoding="utf-8")
    notebooks.mkdir()
    port, token = _free_port(), secrets.token_hex(16)
    arguments = [argument.format(port=port, token=token, notebooks=notebooks) for argument in command]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env=_environment(folder),
            cwd=notebooks,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            server = Server(kind, f"http://127.0.0.1:{port}", token, notebooks, folder / "settings")
            _wait_for(server, process, folder / "log.txt")
            yield server
        finally:
            process.terminate()
            process.wait(timeout=30)


def _environment(folder: Path) -> dict[str, str]:
    """Build environment variables that point Jupyter to `folder` and leave out those of projects."""
    kept = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "TEMP", "TMP")
    jupyter = {"CONFIG_DIR": "config", "DATA_DIR": "data", "RUNTIME_DIR": "runtime"}
    lab = {"SETTINGS_DIR": "settings", "WORKSPACES_DIR": "workspaces"}
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "HOME": str(folder),
        "IPYTHONDIR": str(folder / "ipython"),
        "MPLCONFIGDIR": mpl.get_cachedir(),  # the cache of fonts
        **{f"JUPYTER_{name}": str(folder / path) for name, path in jupyter.items()},
        **{f"JUPYTERLAB_{name}": str(folder / path) for name, path in lab.items()},
    }


def _wait_for(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(TIMEOUT_MS // 100):
        if process.poll() is not None:
            break
        with contextlib.suppress(requests.ConnectionError):
            requests.get(server.page_url("api/status"), timeout=30)
            return
        time.sleep(0.1)
    raise AssertionError(f"The server does not respond: {log.read_text(encoding='utf-8')}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
