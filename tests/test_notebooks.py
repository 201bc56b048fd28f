"""Every notebook runs from top to bottom without an account, and shows its main results."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbclient
import nbformat
import pandas as pd
import pytest

import callframe as cf

if TYPE_CHECKING:
    from collections.abc import Callable

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


class Run:
    """The outputs of a notebook by cell id, and its folder."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.folder = folder
        notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
        self.outputs: dict[str, list[Any]] = {cell["id"]: cell.get("outputs", []) for cell in notebook.cells}

    def text(self, cell: str) -> str:
        """Return the printed output of a cell."""
        return "".join(output.get("text", "") for output in self.outputs[cell])

    def shown(self, cell: str, kind: str) -> str:
        """Return the last output of a MIME type, such as `image/png`."""
        outputs = [output["data"][kind] for output in self.outputs[cell] if kind in output.get("data", {})]
        assert outputs, f"cell {cell} has no output of type {kind}"
        return str(outputs[-1])

    def table(self, cell: str) -> pd.DataFrame:
        """Return the last table of a cell."""
        return parse(self.shown(cell, "text/html"))

    def numbers(self, cell: str, row: str) -> dict[str, float]:
        """Return a row of the last table of a cell."""
        table = self.table(cell)
        return dict(zip(table.columns, table[table.index == row].to_numpy(dtype="float64")[0].tolist(), strict=True))

    @property
    def images(self) -> list[str]:
        """List the cells with an image."""
        return [
            cell for cell in self.outputs if any("image/png" in output.get("data", {}) for output in self.outputs[cell])
        ]


def parse(html: str) -> pd.DataFrame:
    """Parse an HTML table of pandas."""
    cells = [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in re.findall(r"<tr.*?</tr>", html, re.DOTALL)
    ]
    heads, rows = cells[0], [row for row in cells[1:] if any(row[1:])]
    lines = "\n".join("\t".join(" ".join(cell.split()) for cell in row) for row in [heads, *rows])
    return pd.read_csv(io.StringIO(lines), sep="\t", index_col=0)


def check_quickstart(run: Run) -> None:
    assert run.images[:2] == ["durations", "failures"]
    assert "failure rate" in run.shown("summary", "text/html")
    assert "Traceback" in run.text("one-log")
    assert set(cf.read_csv(run.folder / "failed.csv")["status"]) == {"Failed"}
    assert cf.is_complete(cf.read_parquet(run.folder / "calls.parquet"))
    shown = [output.get("data", {}) for output in run.outputs["explore"]]
    assert any("application/vnd.jupyter.widget-view+json" in data for data in shown)


def check_failures(run: Run) -> None:
    assert run.images == ["when", "groups"]
    rates = run.numbers("rate", "train-anomaly-models")
    assert rates["failure_rate"] > 2 * rates["share_of_failed"]
    count = run.table("messages")["count"]
    assert count["failure groups"] < count["different messages"] / 10
    assert run.table("groups-in-time")["template"].str.contains("Could not authenticate").any()
    assert "CogniteAPIError" in run.text("example")
    assert run.numbers("responses", "Error response")["by the responses"] > 10
    assert "ERROR: KeyError" in run.text("responses-log")


def check_schedules(run: Run) -> None:
    assert run.images == ["late", "missed", "concurrency"]
    runs = run.table("gaps")
    assert (runs["run"] + runs["missed"] == runs["expected"]).all()
    assert runs["gaps_between_starts"].iloc[0] > 2 * runs["missed"].iloc[0]
    at_once = run.table("exact")["calls"]
    assert at_once["at the same time"] < at_once["within the same minute"]
    assert run.table("peaks").index[0] == "render-pid-diagrams"


def check_slower(run: Run) -> None:
    assert run.images == ["durations", "survival"]
    verdicts = run.table("compare")["duration_verdict"]
    assert list(verdicts.index[verdicts == "slower"]) == ["ingest-sap-orders"]
    placebo = run.table("placebo")
    assert set(placebo["duration_verdict"]) | set(placebo["failure_verdict"]) <= {
        "no difference that matters",
        "cannot tell",
        "too few calls",
    }
    minutes = run.table("limit")["minutes"]
    assert minutes["p95 without the timeouts"] < 10 <= minutes["p95 is above"]


def check_your_own_project(run: Run) -> None:
    assert run.images == ["durations"]
    assert run.text("rejected").startswith("401 ")
    assert "IncompleteWarning: 1 of 20 functions could not be read completely" in run.text("fetch")
    assert "403" in str(run.table("fetch")["reason"].iloc[0])
    assert run.shown("keep", "text/plain").startswith("(False, ")
    assert "INCOMPLETE" in (run.folder / "report.html").read_text(encoding="utf-8").upper()


CHECKS: dict[str, Callable[[Run], None]] = {
    "01_quickstart": check_quickstart,
    "02_failures": check_failures,
    "03_schedules": check_schedules,
    "04_slower_since_the_deploy": check_slower,
    "05_your_own_project": check_your_own_project,
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("default")  # Jupyter itself warns
def test_notebook_shows_its_main_results(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MPLBACKEND")  # the kernel sets its own, which shows images
    run = Run(path, tmp_path)
    CHECKS[path.stem](run)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_valid(path: Path) -> None:
    nbformat.validate(nbformat.read(path, as_version=4))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_no_styled_table_as_pandas_does_not_escape_them(path: Path) -> None:
    assert ".style." not in path.read_text(encoding="utf-8")
