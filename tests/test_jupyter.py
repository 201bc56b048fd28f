"""Copies of the notebooks, opened in a real JupyterLab on this machine."""

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


class Running(NamedTuple):
    process: subprocess.Popen[str]
    session: requests.Session
    url: str
    said: list[str]

    def ask(self, method: str, path: str) -> requests.Response:
        return self.session.request(method, f"{self.url}{path}", timeout=20)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command(port: int) -> list[str]:
    return [sys.executable, "-m", "callframe", "notebook", "--no-browser", "--port", str(port), "--allow-root"]


def settings(home: Path) -> dict[str, str]:
    """Leave out what the user has set up for Jupyter."""
    ours = {"HOME": str(home), "USERPROFILE": str(home), "JUPYTER_TOKEN": TOKEN}
    return {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "IPYTHON"))} | ours


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run the command in an empty folder, with a home that nobody has set up; wait until it says where it is."""
    empty, home, port = tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("home"), free_port()
    process = subprocess.Popen(command(port), cwd=empty, env=settings(home), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "is running at" in line:
            break
    session = requests.Session()
    session.headers["Authorization"] = f"token {TOKEN}"
    session.mount(
        "http://", HTTPAdapter(max_retries=Retry(connect=8, backoff_factor=0.05))
    )  # it says so a little early
    try:
        yield Running(process, session, f"http://127.0.0.1:{port}", said)
    finally:
        session.close()
        process.kill()
        process.communicate()


def test_a_new_folder_gets_all_notebooks(tmp_path: Path) -> None:
    assert jupyter.copy(tmp_path / "a" / "b") == []
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == NAMES


def test_a_copy_is_the_original(tmp_path: Path) -> None:
    jupyter.copy(tmp_path)
    assert (tmp_path / NAMES[1]).read_bytes() == (TOP / "notebooks" / NAMES[1]).read_bytes()


def test_an_edited_copy_is_kept_and_named(tmp_path: Path) -> None:
    (tmp_path / NAMES[1]).write_text("mine")
    assert jupyter.copy(tmp_path) == [NAMES[1]]
    assert (tmp_path / NAMES[1]).read_text() == "mine"


def test_a_copy_that_was_deleted_comes_back_and_the_others_are_not_spoken_of(tmp_path: Path) -> None:
    jupyter.copy(tmp_path)
    (tmp_path / NAMES[0]).unlink()
    assert jupyter.copy(tmp_path) == []
    assert (tmp_path / NAMES[0]).exists()


def test_a_copy_is_not_written_through_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / NAMES[0]).symlink_to(tmp_path / "elsewhere.ipynb")
    with pytest.raises(cf.errors.FileError, match=NAMES[0]):
        jupyter.copy(tmp_path)
    assert not (tmp_path / "elsewhere.ipynb").exists()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = CliRunner().invoke(cli.main, ["notebook", "--dir", str(tmp_path / "file" / "folder")])
    assert done.exit_code == 1
    assert done.stderr.startswith("callframe: The notebooks cannot be copied to ")
    assert "Choose another --dir." in done.stderr


@pytest.mark.parametrize(
    ("module", "what"), [("jupyterlab", "JupyterLab"), ("starlette", "the embedded service"), ("uvicorn", "the embed")]
)
def test_what_is_not_installed_is_said_in_one_sentence(
    module: str, what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    done = CliRunner().invoke(cli.main, ["notebook", "--dir", str(tmp_path / "new")])
    assert done.stderr.startswith(f"callframe: The notebooks need {what}")
    assert done.stderr.endswith("install it: pip install 'callframe[notebook,demo]'\n")
    assert (done.exit_code, (tmp_path / "new").exists()) == (1, False)


def test_the_wheel_holds_the_notebooks_and_nothing_else_of_their_folder() -> None:
    hatch = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
    included = hatch["build"]["targets"]["wheel"]["force-include"]
    assert included == {f"notebooks/{name}": f"callframe/notebooks/{name}" for name in NAMES}


def test_jupyterlab_opens_on_copies_in_a_new_folder(running: Running) -> None:
    shown = [entry["name"] for entry in running.ask("GET", "/api/contents").json()["content"]]
    assert sorted(shown) == NAMES
    assert running.said[0] == "The notebooks are in callframe-notebooks. Ctrl-C here ends JupyterLab.\n"


def test_jupyterlab_opens_the_first_notebook(running: Running) -> None:
    assert running.ask("GET", "/").url.split("?")[0] == f"{running.url}/lab/tree/01_quickstart.ipynb"


def test_jupyterlab_lets_nobody_in_without_the_token(running: Running) -> None:
    assert requests.get(f"{running.url}/api/contents", timeout=20).status_code == 403


def test_a_kernel_is_the_python_that_has_callframe(running: Running) -> None:
    assert running.ask("POST", "/api/kernels").status_code == 201
    started = psutil.Process(running.process.pid).children(recursive=True)
    assert [child.cmdline()[0] for child in started if "ipykernel_launcher" in child.cmdline()] == [sys.executable]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C to whole consoles only")
def test_ctrl_c_ends_jupyterlab_and_its_kernels(running: Running) -> None:
    kernels = psutil.Process(running.process.pid).children(recursive=True)
    running.process.send_signal(signal.SIGINT)
    running.process.communicate(timeout=30)
    assert running.process.returncode == 0
    assert psutil.wait_procs(kernels, timeout=10)[1] == []


def test_a_port_that_is_taken_is_not_exchanged_for_another(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        words = command(taken.getsockname()[1])
        done = subprocess.run(
            words, cwd=tmp_path, env=settings(tmp_path), capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 1
    assert "already in use" in done.stderr
