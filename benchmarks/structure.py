"""The size of the package, and how many of its files three typical flows execute."""

from __future__ import annotations

import ast
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import callframe as cf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

PACKAGE = Path(cf.__file__).parent
_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Size(NamedTuple):
    """The lines of a module or a function; lines of code are neither blank nor comments nor docstrings."""

    name: str
    lines: int
    docstring_lines: int
    code_lines: int


def sizes() -> tuple[list[Size], list[Size]]:
    """Measure all modules, and all functions."""
    modules, functions = [], []
    for path in sorted(PACKAGE.rglob("*.py")):
        lines, name = path.read_text(encoding="utf-8").splitlines(), path.relative_to(PACKAGE).as_posix()
        nodes = list(ast.walk(ast.parse("\n".join(lines))))
        documented = [node for node in nodes if isinstance(node, _DOCUMENTED) and ast.get_docstring(node)]
        docstrings = {line for node in documented for line in _lines(node.body[0])}
        code = {number for number, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")}
        code -= docstrings
        modules.append(Size(name, len(lines), len(docstrings), len(code)))
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = set(_lines(node))
                functions.append(Size(f"{name}: {node.name}", len(body), len(body & docstrings), len(body & code)))
    return modules, functions


def _lines(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def executed_files(flow: Callable[[Callable[[], None]], object]) -> set[str]:
    """Run a flow in this thread; return the files it and its new threads execute until it ends or calls `stop`."""
    files, stopped = set[str](), threading.Event()

    def profile(frame: FrameType, event: str, _: object) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(str(PACKAGE)) and not stopped.is_set() and not _is_import(frame):
            files.add(Path(path).relative_to(PACKAGE).as_posix())

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        flow(stopped.set)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return files


def _is_import(frame: FrameType | None) -> bool:
    while frame is not None and "importlib._bootstrap" not in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is not None


def flows() -> Iterator[tuple[str, set[str]]]:
    """Run the flows on a sample project."""
    with cf.demo(calls=5_000, days=7) as project, tempfile.TemporaryDirectory() as folder:
        yield "files executed by project.calls()", executed_files(lambda _: project.calls(progress=False))
        archive = cf.Archive(Path(folder, "calls.delta"))
        archive.sync(project)
        yield "files executed by archive.sync(), existing archive", executed_files(lambda _: archive.sync(project))
        explorer = cf.explore(project.calls(progress=False), schedules=project.schedules())
    names = explorer.calls["function"].cat.categories

    def select(function: int, stop: Callable[[], None]) -> None:
        explorer._picture.observe(lambda _: stop())
        explorer.selection = {"functions": [names[function]]}

    yield (
        "files executed by selecting a function in the dashboard, until the new plot",
        executed_files(lambda stop: select(0, stop)),
    )
    yield "files executed until everything is updated", executed_files(lambda _: select(1, lambda: None))
