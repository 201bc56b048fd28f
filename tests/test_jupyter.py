"""Tests of the copied notebooks and of a real JupyterLab that opens them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil
import pytest
import requests
from click.testing import CliRunner
from requests.adapters import HTTPAdapter
from urllib3 import Retry

import callframe as cf
from callframe import cli, jupyter

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).parents[1]
NAMES = sorted(path.name for path in (TOP / "notebooks").glob("*.ipynb"))
TOKEN = "of-a-test"


class RunningLab(NamedTuple):
    process: subprocess.Popen[str]
    session: requests.Session
    url: str
    output: list[str]

    def request(self, method: str, path: str) -> requests.Response:
        return self.session.request(method, f"{self.url}{path}", timeout=20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command(port: int) -> list[str]:
    return [sys.executable, "-m", "callframe", "notebook", "--no-browser", "--port", str(port), "--allow-root"]


def environment(home: Path) -> dict[str, str]:
    """Return the environment without the Jupyter settings of the user."""
    own = {"HOME": str(home), "USERPROFILE": str(home), "JUPYTER_TOKEN": TOKEN}
    return {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "IPYTHON"))} | own


@pytest.fixture
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """Run the command in an empty folder with an empty home, and wait until it prints its address."""
    empty, home, port = tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("home"), free_port()
    process = subprocess.Popen(command(port), cwd=empty, env=environment(home), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    output = []
    for line in process.stderr:
        output.append(line)
        if "is running at" in line:
            break
    session = requests.Session()
    session.headers["Authorization"] = f"token {TOKEN}"
    session.mount(
        "http://", HTTPAdapter(max_retries=Retry(connect=8, backoff_factor=0.05))
    )  # the address is printed before the server accepts connections
    try:
        yield RunningLab(process, session, f"http://127.0.0.1:{port}", output)
    finally:
        session.close()
        process.kill()
        process.communicate()


def test_new_folder_gets_all_notebooks(tmp_path: Path) -> None:
    assert jupyter.copy_notebooks(tmp_path / "a" / "b") == []
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == NAMES


def test_copy_is_identical(tmp_path: Path) -> None:
    jupyter.copy_notebooks(tmp_path)
    assert (tmp_path / NAMES[1]).read_bytes() == (TOP / "notebooks" / NAMES[1]).read_bytes()


def test_edited_copy_is_kept_and_named(tmp_path: Path) -> None:
    (tmp_path / NAMES[1]).write_text("mine")
    assert jupyter.copy_notebooks(tmp_path) == [NAMES[1]]
    assert (tmp_path / NAMES[1]).read_text() == "mine"


def test_deleted_copy_is_restored(tmp_path: Path) -> None:
    jupyter.copy_notebooks(tmp_path)
    (tmp_path / NAMES[0]).unlink()
    assert jupyter.copy_notebooks(tmp_path) == []
    assert (tmp_path / NAMES[0]).exists()


def test_copy_is_not_written_through_a_broken_link(tmp_path: Path) -> None:
    (tmp_path / NAMES[0]).symlink_to(tmp_path / "elsewhere.ipynb")
    with pytest.raises(cf.errors.FileError, match=NAMES[0]):
        jupyter.copy_notebooks(tmp_path)
    assert not (tmp_path / "elsewhere.ipynb").exists()


def test_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(cli.main, ["notebook", "--dir", str(tmp_path / "file" / "folder")])
    assert result.exit_code == 1
    assert result.stderr.startswith("callframe: The notebooks cannot be copied to ")
    assert "Choose another --dir." in result.stderr


@pytest.mark.parametrize(
    ("module", "name"), [("jupyterlab", "JupyterLab"), ("starlette", "the embedded service"), ("uvicorn", "the embed")]
)
def test_missing_package_is_reported(module: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = CliRunner().invoke(cli.main, ["notebook", "--dir", str(tmp_path / "new")])
    assert result.stderr.startswith(f"callframe: The notebooks need {name}")
    assert result.stderr.endswith("install it: pip install 'callframe[notebook,demo]'\n")
    assert (result.exit_code, (tmp_path / "new").exists()) == (1, False)


def test_wheel_includes_only_the_notebooks_of_their_folder() -> None:
    hatch = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
    included = hatch["build"]["targets"]["wheel"]["force-include"]
    assert included == {f"notebooks/{name}": f"callframe/notebooks/{name}" for name in NAMES}


@pytest.mark.slow
def test_command_opens_copies_in_jupyterlab_until_ctrl_c(running: RunningLab) -> None:
    names = [entry["name"] for entry in running.request("GET", "/api/contents").json()["content"]]
    assert sorted(names) == NAMES
    assert running.output[0] == "The notebooks are in callframe-notebooks. Press Ctrl-C here to stop JupyterLab.\n"
    assert running.request("GET", "/").url.split("?")[0] == f"{running.url}/lab/tree/01_quickstart.ipynb"
    assert requests.get(f"{running.url}/api/contents", timeout=20).status_code == 403  # without the token
    assert running.request("POST", "/api/kernels").status_code == 201
    children = psutil.Process(running.process.pid).children(recursive=True)
    kernels = [child for child in children if "ipykernel_launcher" in child.cmdline()]
    assert [kernel.cmdline()[0] for kernel in kernels] == [sys.executable]
    if sys.platform != "win32":  # which sends Ctrl-C to whole consoles only
        running.process.send_signal(signal.SIGINT)
        running.process.communicate(timeout=30)
        assert running.process.returncode == 0
        assert psutil.wait_procs(kernels, timeout=10)[1] == []


@pytest.mark.slow
def test_port_in_use_is_reported(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        arguments = command(listener.getsockname()[1])
        result = subprocess.run(
            arguments, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=60, check=False
        )
    assert result.returncode == 1
    assert "already in use" in result.stderr
