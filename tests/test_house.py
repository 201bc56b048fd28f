"""The structure of the repository: imports, public names, docstrings, dependencies and tracked files."""

from __future__ import annotations

import ast
import functools
import importlib
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

# Layers from the lowest to the highest. A name is a module or a subpackage; "" is callframe/__init__.py.
LAYERS: list[set[str]] = [
    {"errors"},
    {"http", "timespan"},
    {"limits"},
    {"auth", "frame"},
    {"completeness"},
    {"api"},
    {"formatting"},
    {"analysis", "csv_parquet"},
    {"plot", "project"},
    {"archive"},
    {"reporting", "sample"},
    {"dashboard", "jupyter"},
    {""},
    {"cli"},
    {"__main__"},
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}

DATA = {"timespan", "frame", "completeness", "formatting", "api", "csv_parquet", "analysis", "plot"}
DATA |= {"project", "archive", "sample", "reporting", "dashboard", "cli"}
LIBRARIES: dict[str, set[str]] = {
    "IPython": {"dashboard"},
    "anywidget": {"dashboard"},
    "click": {"cli"},
    "cronsim": {"analysis"},
    "dask": {"archive", "analysis"},
    "deltalake": {"archive"},
    "distributed": {"archive"},
    "dotenv": {"auth"},
    "ipywidgets": {"dashboard"},
    "jinja2": {"reporting"},
    "jupyterlab": {"jupyter"},
    "lazy_loader": {""},
    "matplotlib": {"plot", "reporting", "dashboard"},
    "msal": {"auth"},
    "msgspec": {"api", "sample"},
    "numpy": DATA,
    "pandas": DATA | {"errors"},
    "pyarrow": {"frame", "csv_parquet", "api", "archive", "analysis"},
    "requests": {"http", "auth", "api"},
    "scipy": {"analysis"},
    "starlette": {"sample"},
    "tqdm": {"api"},
    "traitlets": {"dashboard"},
    "truststore": {"http"},
    "urllib3": {"http"},
    "uvicorn": {"sample"},
}

MODULES = {
    ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((TOP / "callframe").rglob("*.py"))
}


def top_level(module: str) -> str:
    """Return `http` for `callframe.http.retry`."""
    return f"{module}.".split(".")[1]


def imported_names(source: str, module: str, *, package: bool = False) -> set[str]:
    """List the full names of the imported modules, including imports in functions and for type checkers."""
    names: set[str] = set()
    parent = module.split(".") if package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = parent[: len(parent) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            names |= {base if base != "callframe" else full_name(alias.name) for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            names |= {str(name.value) for name in node.args[:1] if isinstance(name, ast.Constant)}
    return names


def full_name(name: str) -> str:
    """Name the module from which `from callframe import ...` takes `name`: a submodule, or `__init__` itself."""
    return f"callframe.{name}" if f"callframe.{name}" in MODULES else "callframe"


PUBLIC = TOP / "callframe" / "__init__.pyi"
IMPORTS = {
    module: imported_names(path.read_text(encoding="utf-8"), module, package=path.name == "__init__.py")
    for module, path in MODULES.items()
}
IMPORTS["callframe"] |= imported_names(PUBLIC.read_text(encoding="utf-8"), "callframe", package=True)


def users_of(name: str) -> set[str]:
    """List the modules that import a top-level module or anything in it."""
    prefix = f"callframe.{name}."
    return {module for module, names in IMPORTS.items() if any(f"{imported}.".startswith(prefix) for imported in names)}


def tracked_files() -> list[Path]:
    """List the files that git tracks, or in a copy without git those that are not generated."""
    git = shutil.which("git")
    if git and (TOP / ".git").exists():
        command = [git, "-c", "safe.directory=*", "ls-files", "-z"]
        names = subprocess.run(command, cwd=TOP, check=True, capture_output=True, text=True).stdout.split("\0")
        return [TOP / name for name in names if name and (TOP / name).is_file()]
    kept = {".ci", ".gitattributes", ".github", ".gitignore", ".pre-commit-config.yaml"}
    generated = {"__pycache__", "build", "dist", "uv.lock"}
    return [
        path
        for path in TOP.rglob("*")
        if path.is_file()
        and not any(
            part in generated or (part.startswith(".") and part not in kept) for part in path.relative_to(TOP).parts
        )
    ]


TRACKED = tracked_files()


def relative(paths: list[Path]) -> list[str]:
    return [path.relative_to(TOP).as_posix() for path in paths]


def matches(pattern: str) -> list[str]:
    """List the first match of a pattern in each tracked file that has one."""
    lines = []
    for path in TRACKED:
        text = path.read_bytes().decode("utf-8", errors="replace")
        if match := re.search(pattern, text):
            lines.append(f"{path.relative_to(TOP).as_posix()}: {match[0]}")
    return lines


# Modules


def test_every_module_has_a_layer() -> None:
    assert {top_level(module) for module in MODULES} == set(LAYER)


def test_imports_go_to_lower_layers() -> None:
    upwards = [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        for name in names
        if name.split(".")[0] == "callframe" and top_level(name) != top_level(module)
        if LAYER[top_level(name)] >= LAYER[top_level(module)]
    ]
    assert upwards == []


def test_only_allowed_modules_import_a_library() -> None:
    standard = {*sys.stdlib_module_names, "callframe"}
    refused = [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        for name in {name.split(".")[0] for name in names} - standard
        if top_level(module) not in LIBRARIES.get(name, set())
    ]
    assert refused == []


def test_every_form_of_import_is_recognized() -> None:
    source = """
import callframe.cli
from callframe import __version__, project
from callframe.csv_parquet import read_csv
from . import frame
from .http.retry import Retry

def later():
    import pandas
    importlib.import_module("dask.dataframe")
"""
    names = {"cli", "project", "csv_parquet", "frame", "http.retry"}
    expected = {"callframe", "pandas", "dask.dataframe", *(f"callframe.{name}" for name in names)}
    assert imported_names(source, "callframe", package=True) == expected
    assert imported_names("from .cron import Cron", "callframe.analysis.runs") == {"callframe.analysis.cron"}


def test_sample_service_does_not_use_the_client_that_it_tests() -> None:
    assert [module for module in users_of("project") if module.startswith("callframe.sample.")] == []


def test_only_the_package_and_the_command_line_use_the_sample_project() -> None:
    assert {top_level(module) for module in users_of("sample")} <= {"sample", "cli", ""}


def test_no_public_name_shadows_a_module() -> None:
    names = [name for name in MODULES if name not in {"callframe", "callframe.__main__"}]
    modules = {name: importlib.import_module(name) for name in names}
    walked = {name: functools.reduce(getattr, name.split(".")[1:], callframe) for name in names}
    assert [name for name in names if walked[name] is not modules[name]] == []


def test_modules_of_different_packages_have_different_file_names() -> None:
    names = [path.stem for path in MODULES.values() if path.stem != "__init__"]
    assert [name for name in names if names.count(name) > 1] == []


def test_import_of_callframe_is_light() -> None:
    script = "import sys, callframe; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    heavy = {
        "pandas",
        "numpy",
        "pyarrow",
        "requests",
        "matplotlib",
        "scipy",
        "ipywidgets",
        "jinja2",
        "starlette",
        "uvicorn",
        "tqdm",
        "msal",
        "deltalake",
        "dask",
    }
    assert heavy & set(run.stdout.split()) == set()


# Public names


def public_functions() -> dict[str, Any]:
    """List the public functions, those of public modules and the methods of public classes."""
    functions: dict[str, Any] = {}
    for name in callframe.__all__:
        value = getattr(callframe, name)
        owned = dir(value) if inspect.isclass(value) or inspect.ismodule(value) else []
        members = {f"{name}.{member}": getattr(value, member) for member in owned if not member.startswith("_")}
        functions |= {name: value, **members}
    return {
        name: value
        for name, value in functions.items()
        if inspect.isroutine(value) and str(getattr(value, "__module__", "")).startswith("callframe")
    }


def docstring_errors(value: Any, codes: set[str]) -> list[str]:
    return [message for code, message in validate(get_doc_object(value))["errors"] if code in codes]


PUBLIC_CLASSES = {
    name: getattr(callframe, name) for name in callframe.__all__ if inspect.isclass(getattr(callframe, name))
}


def test_all_lists_exactly_the_public_names() -> None:
    imports = [
        node for node in ast.walk(ast.parse(PUBLIC.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)
    ]
    defined = {alias.asname for node in imports for alias in node.names}
    assert set(callframe.__all__) == {*defined, "__version__"}
    assert [name for name in callframe.__all__ if not hasattr(callframe, name)] == []


def test_public_names_have_docstrings() -> None:
    values = {name: getattr(callframe, name) for name in callframe.__all__}
    undocumented = [name for name, value in values.items() if not isinstance(value, str) and not inspect.getdoc(value)]
    assert undocumented == []


@pytest.mark.parametrize("name", public_functions())
def test_public_functions_document_parameters_and_return_values(name: str) -> None:
    codes = {"GL08", "PR01", "PR02", "PR07", "RT01", "RT03", "SS01", "YD01"}
    assert docstring_errors(public_functions()[name], codes) == []


@pytest.mark.parametrize("name", PUBLIC_CLASSES)
def test_public_classes_document_parameters(name: str) -> None:
    value = PUBLIC_CLASSES[name]
    codes = {"PR02", "PR07", "SS01"} | (set() if issubclass(value, Exception) else {"PR01"})
    assert docstring_errors(value, codes) == []


# Versions


def test_version_is_that_of_pyproject() -> None:
    assert callframe.__version__ == PROJECT["version"]


def test_changelog_starts_with_the_version_of_pyproject() -> None:
    headings = re.findall(r"^## \[([^\]]+)\]", (TOP / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == PROJECT["version"]


# Tracked files


def test_no_tracked_file_names_a_package_registry() -> None:
    assert (
        matches(r"(?i)pypi\.org|pythonhosted\.org|conda\.anaconda\.org|https?://(?:registry|files|deb)\.|/simple\b/")
        == []
    )


def test_no_tracked_file_names_a_path_of_a_machine() -> None:
    # /home/site/wwwroot is where CDF runs Functions, so the tracebacks of the sample failures contain it
    unix = r"(?<![\w.~*)}/-])/(?:root|home(?!/site/wwwroot)|Users|tmp|work|workspace|builds|mnt|opt|srv)/\w"
    assert matches(rf"{unix}|\b[A-Z]:\\+Users\\|\.\./shared\b") == []


def test_no_tracked_file_contains_a_secret() -> None:
    kinds = [
        r"\beyJ[\w-]{10,}\.[\w-]{10,}",  # JSON Web Token
        r"\bgh[pousr]_\w{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{20,}",
        r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
        r"-----BEGIN [A-Z ]*PRIVATE KEY",
        r"(?i:\bbearer\s+[\w.~+/-]{24,})",
        r"""(?i:(?:secret|password|api_?key|token)["']?\s*[:=]\s*["'][\w~.+/=-]{24,}["'])""",
    ]
    assert matches("|".join(kinds)) == []


def test_notebooks_have_no_outputs() -> None:
    cells = {path: json.loads(path.read_text(encoding="utf-8"))["cells"] for path in TRACKED if path.suffix == ".ipynb"}
    run = [path for path in cells if any(cell.get("outputs") or cell.get("execution_count") for cell in cells[path])]
    assert relative(run) == []


def test_tracked_files_are_small() -> None:
    assert relative([path for path in TRACKED if path.stat().st_size > 200_000]) == []


def test_lock_file_is_ignored() -> None:
    assert "uv.lock" in (TOP / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "uv.lock" not in relative(TRACKED)


@pytest.mark.parametrize("command", ["pip install uv && uv run callframe demo", "pip install uv && uv run pytest"])
def test_readme_sets_up_in_one_command(command: str) -> None:
    assert command in (TOP / "README.md").read_text(encoding="utf-8")


# Dependencies


def requirements() -> Iterator[str]:
    """List the dependencies and those of the extras, without the extra that combines the others."""
    extras = PROJECT["optional-dependencies"].values()
    for requirement in [*PROJECT["dependencies"], *itertools.chain(*extras)]:
        if not requirement.startswith("callframe["):
            yield requirement


def bounds(lines: list[str]) -> dict[str, str]:
    """Split `name >=1.2` into the name and its bounds."""
    split = (re.fullmatch(r"([\w-]+)\s*(.*)", line) for line in lines)
    return {match[1]: match[2].replace(" ", "") for match in split if match}


def environment() -> list[Any]:
    content: dict[str, list[Any]] = yaml.safe_load((TOP / "environment.yml").read_text(encoding="utf-8"))
    return content["dependencies"]


CONDA_NAMES = {"lazy-loader": "lazy_loader", "matplotlib": "matplotlib-base"}  # matplotlib without GUI toolkits


@pytest.mark.parametrize(
    "requirement", sorted({*requirements(), *itertools.chain(*PYPROJECT["dependency-groups"].values())})
)
def test_every_dependency_has_a_reason(requirement: str) -> None:
    text = (TOP / "pyproject.toml").read_text(encoding="utf-8")
    assert requirement.startswith("callframe[") or re.search(
        rf'^\s*"{re.escape(requirement)}",\s*# \S', text, re.MULTILINE
    )


def test_environment_lists_the_packages_of_pyproject_with_their_bounds() -> None:
    listed = bounds([line for line in environment() if isinstance(line, str)])
    wanted = {CONDA_NAMES.get(name, name): bound for name, bound in bounds(list(requirements())).items()}
    assert listed == wanted | {"python": PROJECT["requires-python"], "pip": ""}


def test_environment_installs_callframe_itself() -> None:
    assert {"pip": ["-e ."]} in environment()
