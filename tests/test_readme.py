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
SHELL = re.findall(r"^(?:uv run )?callframe ([a-z]+)(.*?)(?: +#.*)?$", README, re.MULTILINE)


@pytest.fixture
def names() -> Iterator[dict[str, Any]]:
    """Hold what the code binds, and close it."""
    found: dict[str, Any] = {}
    yield found
    found["project"].close()
    plt.close("all")


def test_code_that_needs_no_account_runs_as_it_stands_one_block_after_the_other(
    names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, block in enumerate(PYTHON, start=1):
        if not any(elsewhere in block for elsewhere in ("cf.connect(c", "tcp://")):  # an account, or a cluster
            exec(compile(block, f"block {number} of README.md", "exec"), names)
    assert names["count"] > 0  # the later blocks read what those before have made


@pytest.mark.parametrize(("command", "words"), SHELL)
def test_shell_lines_name_commands_and_options_that_there_are(command: str, words: str) -> None:
    told = CliRunner().invoke(cli.main, [command, "--help"])
    options = set(re.findall(r"(?<!\w)--[a-z-]+", words))
    assert told.exit_code == 0
    assert {option for option in options if option not in told.output} == set()
