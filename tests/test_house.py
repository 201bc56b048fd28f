"""The house holds together: who imports whom, what is public, and that the files which say the same thing agree."""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import validate

import callframe

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]

# Rooms by layer, lowest first. A room is a module or a subpackage; "" is callframe/__init__.py.
LAYERS: list[set[str]] = [
    {"errors", "progress"},
    {"http", "timespan"},
    {"limits"},
    {"auth", "frame"},
    {"completeness"},
    {"api"},
    {"formatting"},
    {"analysis", "files"},
    {"plot", "project"},
    {"archive"},
    {"reporting", "sample"},
    {"dashboard", "jupyter"},
    {""},
    {"cli"},
    {"__main__"},
]
LAYER = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}

WITH_FRAMES = {"timespan", "frame", "completeness", "formatting", "api", "files", "analysis", "plot"}
WITH_FRAMES |= {"project", "archive", "sample", "reporting", "dashboard", "cli"}
ROOMS_OF: dict[str, set[str]] = {
    "IPython": {"dashboard"},
    "click": {"cli"},
    "cronsim": {"analysis"},
    "dask": {"archive", "analysis"},
    "deltalake": {"archive"},
    "distributed": {"archive"},
    "dotenv": {"auth"},
    "ipywidgets": {"dashboard"},
    "itables": {"dashboard"},
    "jinja2": {"reporting"},
    "jupyterlab": {"jupyter"},
    "matplotlib": {"plot", "reporting", "dashboard"},
    "msal": {"auth"},
    "msgspec": {"api", "sample"},
    "numpy": WITH_FRAMES,
    "pandas": WITH_FRAMES | {"errors"},
    "pyarrow": {"frame", "files", "api", "archive", "analysis"},
    "requests": {"http", "auth", "api"},
    "scipy": {"analysis"},
    "starlette": {"sample"},
    "tqdm": {"progress"},
    "urllib3": {"http"},
    "uvicorn": {"sample"},
}

MODULES = {
    ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((TOP / "callframe").rglob("*.py"))
}


def room(module: str) -> str:
    return f"{module}.".split(".")[1]


def imports(source: str, module: str, *, package: bool = False) -> set[str]:
    """List what a module imports, by full name, in functions and for type checkers too."""
    found: set[str] = set()
    home = module.split(".") if package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = home[: len(home) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            found |= {base if base != "callframe" else _member(alias.name) for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            found |= {str(name.value) for name in node.args[:1] if isinstance(name, ast.Constant)}
    return found


def _member(name: str) -> str:
    """Tell a room imported from callframe from a public name imported from its `__init__`."""
    return f"callframe.{name}" if name in LAYER or f"callframe.{name}" in MODULES else "callframe"


def imports_of(module: str) -> set[str]:
    path = MODULES[module]
    return imports(path.read_text(encoding="utf-8"), module, package=path.name == "__init__.py")


def rooms_imported(module: str) -> set[str]:
    return {room(name) for name in imports_of(module) if name.split(".")[0] == "callframe"}


def may_import(importer: str, imported: str) -> bool:
    return importer == imported or LAYER[importer] > LAYER[imported]


def tracked() -> list[Path]:
    """List the files of the repository: those git knows, or without git those that are no by-products."""
    git = shutil.which("git")
    if git and (TOP / ".git").exists():
        command = [git, "-c", "safe.directory=*", "ls-files", "-z"]
        names = subprocess.run(command, cwd=TOP, check=True, capture_output=True, text=True).stdout.split("\0")
        return [TOP / name for name in names if name and (TOP / name).is_file()]
    kept = {".ci", ".gitattributes", ".gitignore", ".pre-commit-config.yaml"}
    by_products = {"__pycache__", "build", "dist", "uv.lock"}
    return [
        path
        for path in TOP.rglob("*")
        if path.is_file()
        and not any(
            part in by_products or (part.startswith(".") and part not in kept) for part in path.relative_to(TOP).parts
        )
    ]


TRACKED = tracked()


def named(paths: list[Path]) -> list[str]:
    return [path.relative_to(TOP).as_posix() for path in paths]


def holding(pattern: str) -> list[str]:
    """List the tracked files that hold what a pattern describes, a line of each."""
    found = []
    for path in TRACKED:
        text = path.read_bytes().decode("utf-8", errors="replace")
        if match := re.search(pattern, text):
            found.append(f"{path.relative_to(TOP).as_posix()}: {match[0]}")
    return found


# Layers


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_room_in_the_table(module: str) -> None:
    assert room(module) in LAYER


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards_only(module: str) -> None:
    refused = {name for name in rooms_imported(module) if not may_import(room(module), name)}
    assert refused == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import callframe.project", "callframe.project"),
        ("from callframe import project", "callframe.project"),
        ("from callframe.project import Project", "callframe.project"),
        ("from callframe import __version__", "callframe"),
        ("from . import project", "callframe.project"),
        ("from .project import Project", "callframe.project"),
        ("def late():\n    import callframe.project", "callframe.project"),
        ("importlib.import_module('callframe.project')", "callframe.project"),
    ],
)
def test_imports_are_seen_however_they_are_written(source: str, found: str) -> None:
    assert imports(source, "callframe.plot") == {found}


def test_relative_import_in_a_subpackage_is_its_own() -> None:
    assert imports("from .summary import summarize", "callframe.analysis", package=True) == {
        "callframe.analysis.summary"
    }


def test_neighbours_of_a_layer_do_not_import_each_other() -> None:
    assert not may_import("http", "timespan")


def test_demo_service_never_sees_the_project() -> None:
    rooms = [
        module for module in MODULES if module.startswith("callframe.sample.") and "project" in rooms_imported(module)
    ]
    assert rooms == []


def test_only_the_shell_and_the_front_door_import_the_demo() -> None:
    guests = {room(module) for module in MODULES if "sample" in rooms_imported(module)}
    assert guests <= {"sample", "cli", ""}


@pytest.mark.parametrize("module", MODULES)
def test_third_party_libraries_stay_in_their_rooms(module: str) -> None:
    libraries = {name.split(".")[0] for name in imports_of(module)} - set(sys.stdlib_module_names) - {"callframe"}
    assert {name for name in libraries if room(module) not in ROOMS_OF.get(name, set())} == set()


@pytest.mark.parametrize(
    "library",
    ["matplotlib", "scipy", "ipywidgets", "jinja2", "starlette", "uvicorn", "tqdm", "msal", "deltalake", "dask"],
)
def test_import_of_callframe_leaves_out(library: str, loaded: set[str]) -> None:
    assert library not in loaded


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    script = "import sys, callframe; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(answer.stdout.split())


# The public names


def bound() -> set[str]:
    """List the public names that `callframe/__init__.py` imports from the house, defines or assigns."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(MODULES["callframe"].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "callframe":
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return {name for name in names if not name.startswith("_")}


def public() -> dict[str, Any]:
    return {name: getattr(callframe, name) for name in callframe.__all__}


def spoken() -> dict[str, Any]:
    """List the public functions, those of public modules and the methods of public classes."""
    found: dict[str, Any] = {}
    for name, thing in public().items():
        members = vars(thing).items() if inspect.isclass(thing) or inspect.ismodule(thing) else ()
        ours = {
            f"{name}.{part}": member
            for part, member in members
            if not part.startswith("_") and getattr(member, "__module__", "").startswith("callframe")
        }
        found |= {name: thing, **ours}
    return {name: thing for name, thing in found.items() if inspect.isfunction(thing)}


def test_all_lists_exactly_the_public_names() -> None:
    assert {name for name in callframe.__all__ if not name.startswith("_")} == bound()


def test_every_public_name_can_be_reached() -> None:
    assert [name for name in callframe.__all__ if not hasattr(callframe, name)] == []


def test_every_public_name_has_a_docstring() -> None:
    undocumented = [
        name for name, thing in public().items() if not isinstance(thing, str) and not inspect.getdoc(thing)
    ]
    assert undocumented == []


def test_every_public_function_documents_its_parameters_and_what_it_returns() -> None:
    codes = {"GL08", "PR01", "PR02", "PR07", "RT01", "RT03", "SS01", "YD01"}
    found = {name: validate(get_doc_object(thing))["errors"] for name, thing in spoken().items()}
    assert [f"{name}: {words}" for name, errors in found.items() for code, words in errors if code in codes] == []


@pytest.mark.parametrize("name", [name for name, thing in public().items() if inspect.isclass(thing)])
def test_every_public_class_documents_its_parameters(name: str) -> None:
    errors = validate(get_doc_object(getattr(callframe, name)))["errors"]
    codes = {"PR02", "PR07", "SS01"} | (set() if issubclass(getattr(callframe, name), Exception) else {"PR01"})
    assert [message for code, message in errors if code in codes] == []


# Versions


def test_version_is_that_of_pyproject() -> None:
    assert callframe.__version__ == PROJECT["version"]


def test_changelog_starts_with_the_version_of_pyproject() -> None:
    headings = re.findall(r"^## \[([^\]]+)\]", (TOP / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == PROJECT["version"]


# The files of the repository


def test_no_tracked_file_names_a_package_registry() -> None:
    assert (
        holding(r"(?i)pypi\.org|pythonhosted\.org|conda\.anaconda\.org|https?://(?:registry|files|deb)\.|/simple\b/")
        == []
    )


def test_no_tracked_file_names_a_path_of_a_machine() -> None:
    # /home/site/wwwroot is where Functions run, so it stands in the traces of made-up failures
    unix = r"(?<![\w.~*)}/-])/(?:root|home(?!/site/wwwroot)|Users|tmp|work|workspace|builds|mnt|opt|srv)/\w"
    assert holding(rf"{unix}|\b[A-Z]:\\+Users\\|\.\./shared\b") == []


def test_no_tracked_file_holds_a_secret() -> None:
    kinds = [
        r"\beyJ[\w-]{10,}\.[\w-]{10,}",  # JSON Web Token
        r"\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{20,}",
        r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
        r"-----BEGIN [A-Z ]*PRIVATE KEY",
        r"(?i:\bbearer\s+[\w.~+/-]{24,})",
        r"""(?i:(?:secret|password|api_?key|token)["']?\s*[:=]\s*["'][\w~.+/=-]{24,}["'])""",
    ]
    assert holding("|".join(kinds)) == []


def test_notebooks_are_kept_without_outputs() -> None:
    cells = {path: json.loads(path.read_text(encoding="utf-8"))["cells"] for path in TRACKED if path.suffix == ".ipynb"}
    run = [path for path in cells if any(cell.get("outputs") or cell.get("execution_count") for cell in cells[path])]
    assert named(run) == []


def test_tracked_files_are_small() -> None:
    assert named([path for path in TRACKED if path.stat().st_size > 200_000]) == []


def test_lock_file_is_ignored() -> None:
    assert "uv.lock" in (TOP / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_lock_file_is_not_tracked() -> None:
    assert "uv.lock" not in named(TRACKED)


@pytest.mark.parametrize("command", ["pip install uv && uv run callframe demo", "pip install uv && uv run pytest"])
def test_readme_sets_up_in_one_command(command: str) -> None:
    assert command in (TOP / "README.md").read_text(encoding="utf-8")


# Dependencies


def requirements() -> Iterator[str]:
    """List what users get: dependencies and extras, without the extra that sums up the others."""
    extras = PROJECT["optional-dependencies"].values()
    for requirement in [*PROJECT["dependencies"], *(one for extra in extras for one in extra)]:
        if not requirement.startswith("callframe["):
            yield requirement


def bounds(lines: list[str]) -> dict[str, str]:
    """Split `name >=1.2` into the name and what bounds it."""
    found = (re.fullmatch(r"([\w-]+)\s*(.*)", line) for line in lines)
    return {match[1]: match[2].replace(" ", "") for match in found if match}


def environment() -> list[Any]:
    content: dict[str, list[Any]] = yaml.safe_load((TOP / "environment.yml").read_text(encoding="utf-8"))
    return content["dependencies"]


CONDA_NAMES = {"matplotlib": "matplotlib-base"}  # where conda-forge has another name, or a smaller package


@pytest.mark.parametrize(
    "requirement", sorted({*requirements(), *itertools.chain(*PYPROJECT["dependency-groups"].values())})
)
def test_every_dependency_has_its_reason_beside_it(requirement: str) -> None:
    text = (TOP / "pyproject.toml").read_text(encoding="utf-8")
    itself = requirement.startswith("callframe[")
    assert itself or re.search(rf'^\s*"{re.escape(requirement)}",\s*# \S', text, re.MULTILINE)


def test_environment_lists_the_packages_of_pyproject_with_their_bounds() -> None:
    listed = bounds([line for line in environment() if isinstance(line, str)])
    wanted = {CONDA_NAMES.get(name, name): bound for name, bound in bounds(list(requirements())).items()}
    assert listed == wanted | {"python": PROJECT["requires-python"], "pip": ""}


def test_environment_installs_callframe_itself() -> None:
    assert {"pip": ["-e ."]} in environment()
