"""What README.md tells people to write can be written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import pytest
from click.testing import CliRunner

from callframe import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
HERE = [number for number, block in enumerate(PYTHON) if "cf.connect(c" not in block and "://" not in block]
"""Blocks of code that need no account and no other machine."""

SHELL = re.findall(r"^(?:uv run )?callframe ([a-z]+)(.*?)(?: +#.*)?$", README, re.MULTILINE)


@pytest.fixture(scope="module")
def names() -> Iterator[dict[str, Any]]:
    """Run the first block, which makes what the later ones are about."""
    found: dict[str, Any] = {}
    exec(PYTHON[0], found)
    yield found
    found["project"].close()
    plt.close("all")


@pytest.mark.parametrize("number", HERE)
def test_code_runs_as_it_stands(
    number: int, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(PYTHON[number], names)


@pytest.mark.parametrize(("command", "words"), SHELL)
def test_shell_lines_name_commands_and_options_that_there_are(command: str, words: str) -> None:
    told = CliRunner().invoke(cli.main, [command, "--help"])
    options = set(re.findall(r"(?<!\w)--[a-z-]+", words))
    assert told.exit_code == 0
    assert {option for option in options if option not in told.output} == set()
