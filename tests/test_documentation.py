"""README.md and the pages in docs/ show code that runs, commands that exist and links that lead somewhere."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib.pyplot as plt
import pytest
from click.testing import CliRunner

import callframe as cf
from callframe import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).parents[1]
README = TOP / "README.md"
PAGES = [README, *sorted((TOP / "docs").rglob("*.md"))]
TEXT = {path.relative_to(TOP).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}

NEEDS = {"an account", "a cluster"}
"""Why a block of code may be marked as one that the tests do not run."""


class Block(NamedTuple):
    """Python code of a page, and why it is not run, if it is not."""

    code: str
    not_run: str | None


def blocks(text: str) -> list[Block]:
    found = re.findall(r"^(?:<!-- not run: (.+?) -->\n)?```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [Block(code, reason or None) for reason, code in found]


def commands() -> list[tuple[str, str]]:
    shell = "".join(re.findall(r"^```shell\n(.*?)^```", "\n".join(TEXT.values()), re.MULTILINE | re.DOTALL))
    return sorted(set(re.findall(r"\bcallframe ([a-z]+)(.*?)(?: +#.*)?$", shell, re.MULTILINE)))


def links(text: str) -> list[str]:
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [target.partition("#")[0] for target in targets if "://" not in target and not target.startswith("#")]


@pytest.fixture
def scope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Hold the names that the code of a page binds, and close what it leaves open."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cf, "demo", functools.partial(cf.demo, calls=5_000))  # the pages show how, not how fast
    names: dict[str, Any] = {}
    yield names
    for value in names.values():
        if isinstance(value, cf.Project):
            value.close()
    plt.close("all")


@pytest.mark.parametrize("page", [page for page, text in TEXT.items() if blocks(text)])
def test_code_of_a_page_runs_from_top_to_bottom(page: str, scope: dict[str, Any]) -> None:
    for number, block in enumerate(blocks(TEXT[page]), start=1):
        if block.not_run is None:
            exec(compile(block.code, f"block {number} of {page}", "exec"), scope)


def test_code_that_is_not_run_says_what_it_needs() -> None:
    reasons = {block.not_run for text in TEXT.values() for block in blocks(text)} - {None}
    assert reasons == NEEDS


def test_every_block_of_python_is_seen() -> None:
    assert all(len(blocks(text)) == text.count("```python\n") for text in TEXT.values())


@pytest.mark.parametrize(("command", "words"), commands())
def test_commands_and_options_exist(command: str, words: str) -> None:
    result = CliRunner().invoke(cli.main, [command, "--help"])
    options = set(re.findall(r"(?<!\w)--[a-z-]+", words))
    assert result.exit_code == 0
    assert {option for option in options if option not in result.output} == set()


@pytest.mark.parametrize("page", [*TEXT, "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_links_lead_to_files(page: str) -> None:
    path = TOP / page
    assert [link for link in links(path.read_text(encoding="utf-8")) if not (path.parent / link).exists()] == []


def test_readme_is_short() -> None:
    assert len(TEXT["README.md"].splitlines()) <= 150


def test_api_reference_lists_every_public_name() -> None:
    reference = "\n".join(text for page, text in TEXT.items() if page.startswith("docs/api/"))
    listed = set(re.findall(r"^\.\. auto(?:function|class|module):: (?:callframe\.)?(\w+)", reference, re.MULTILINE))
    errors = {name for name in cf.__all__ if name.endswith(("Error", "Warning"))}  # listed by their module
    assert {*cf.__all__, *cf.plot.__all__} - errors - listed <= {"__version__", "plot"} | {
        name for name in cf.plot.__all__ if name.isupper()
    }


def test_modules_named_in_contributing_exist() -> None:
    text = (TOP / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:\w+/)?\w+\.py)`", text)
    assert [name for name in named if not (TOP / "callframe" / name).exists() and not (TOP / name).exists()] == []


def test_messages_in_troubleshooting_exist() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in (TOP / "callframe").rglob("*.py"))
    quoted = re.findall(r'^\*\*"(.+?)"\*\*', TEXT["docs/guide/troubleshooting.md"], re.MULTILINE)
    parts = [part.strip() for message in quoted for part in message.split("...")]
    assert [part for part in parts if part not in source] == []
