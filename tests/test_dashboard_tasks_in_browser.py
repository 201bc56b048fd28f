"""What operators ask, in a real browser: each answer within a number of actions, whatever the calls come from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from chromium import TIMEOUT_MS, record, screenshot, wait_until
from dashboard import Dashboard
from notebook_servers import run_notebook
from playwright.sync_api import expect

import callframe as cf
from callframe.sample.project_data import ProjectData
from callframe.sample.server import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from notebook_servers import Server
    from playwright.sync_api import Browser, Locator

KEPT = "kept.parquet"
SOURCES = {
    "project": "explorer = cf.explore(project, start='14d')",
    "file": "calls = project.calls(start='14d')\ncf.write_parquet(calls, 'calls.parquet')\n"
    "explorer = cf.explore('calls.parquet', schedules=project.schedules())",
    "frame": "explorer = cf.explore(project.calls(start='14d'), schedules=project.schedules())",
    "archive": "archive = cf.Archive('calls.delta')\narchive.sync(project, start='1y')\nexplorer = cf.explore(archive)",
}


class Actions:
    """Does what a person does, and counts it."""

    def __init__(self, board: Dashboard) -> None:
        self.board = board
        self.count = 0

    def press(self, target: Locator) -> None:
        self.count += 1
        target.click(timeout=TIMEOUT_MS)

    def drag(self, start: pd.Timestamp, end: pd.Timestamp) -> None:
        """Drag over the time axis of the plot from one time to another."""
        self.count += 1
        box = self.board.plot.bounding_box()
        axis = self.board.page.evaluate(_TIME_AXIS)
        assert box
        assert axis
        [left, top, width, height], start_ms, end_ms = axis
        places = [
            box["x"] + box["width"] * (left + width * (one.timestamp() * 1000 - start_ms) / (end_ms - start_ms))
            for one in (start, end)
        ]
        y = box["y"] + box["height"] * (top + height / 2)
        mouse = self.board.page.mouse
        mouse.move(places[0], y)
        mouse.down()
        mouse.move(sum(places) / 2, y, steps=3)
        mouse.move(places[1], y)
        mouse.up()


_TIME_AXIS = "() => JSON.parse(document.querySelector('.callframe-picture figure').dataset.timeAxis)"


@pytest.fixture(scope="module", params=list(SOURCES))
def source(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def opened(source: str, voila: Server, chromium: Browser) -> Iterator[Dashboard]:
    """Open a dashboard of a sample project, in Voila; an archive holds a year."""
    calls, days = (20_000, 365) if source == "archive" else (15_000, 14)
    with (
        Service(ProjectData.generate(calls=calls, functions=12, days=days)) as service,
        chromium.new_page(viewport={"width": 1440, "height": 900}) as page,
    ):
        access = f"base_url={service.url!r}, project={service.project!r}, token={service.token!r}"
        kept = f"cf.write_parquet(explorer.calls, {KEPT!r})"
        cells = [f"import callframe as cf\nproject = cf.connect({access})\n{SOURCES[source]}", kept, "explorer"]
        log = record(page)
        run_notebook(page, voila, voila.add(f"tasks-{source}.ipynb", *cells))
        page.locator(".callframe-explore .callframe-picture img").first.wait_for(timeout=TIMEOUT_MS)
        yield Dashboard(page, log, cf.read_parquet(voila.notebooks / KEPT))


@pytest.fixture
def board(opened: Dashboard) -> Iterator[Dashboard]:
    opened.reset()
    opened.page.evaluate("scrollTo(0, 0)")
    yield opened
    opened.log.check()


@pytest.fixture
def actions(board: Dashboard) -> Actions:
    return Actions(board)


def incident(board: Dashboard) -> Any:
    """Find the worst incident, which the first findings tell."""
    return cf.incidents(board.calls).sort_values("failures").iloc[-1]


def test_which_function_broke_since_when_with_what_error_and_log(
    board: Dashboard, actions: Actions, source: str
) -> None:
    outage = incident(board)
    finding = board.root.locator(".findings button", has_text=f"{outage['failures']:,} of {outage['finished']:,} calls")
    expect(finding).to_contain_text(f"{outage['start_time']:%Y-%m-%d %H:%M}", timeout=TIMEOUT_MS)
    if not finding.is_visible():
        actions.press(board.root.locator(".findings summary"))
    actions.press(finding)
    within = board.calls["start_time"].between(outage["start_time"], outage["end_time"])
    if ", " not in outage["functions"]:
        within &= board.calls["function"] == outage["functions"]
    worst = cf.failures(board.calls[within]).iloc[0]
    card = board.panel.locator(".card").first
    expect(card.locator(".count b")).to_have_text(str(worst["count"]), timeout=TIMEOUT_MS)
    actions.press(card.locator(".link"))
    call = board.calls[board.calls["call_id"] == worst["call_id"]].iloc[0]
    expect(board.drawer.locator("pre").first).to_contain_text(call["error_trace"].strip()[-60:], timeout=TIMEOUT_MS)
    log = "Starting" if source == "project" else "Logs and responses are read from a project"
    expect(board.drawer).to_contain_text(log, timeout=TIMEOUT_MS)
    screenshot(board.page, f"task-drawer-{source}")
    assert actions.count <= 3


def test_which_runs_schedules_skipped(board: Dashboard, actions: Actions, source: str) -> None:
    shown = board.key_figure("Missed runs").inner_text()
    actions.press(board.key_figure("Missed runs"))
    caption = board.panel.locator("caption", has_text="scheduled times without a call")
    expect(caption).to_have_text(f"{shown} scheduled times without a call", timeout=TIMEOUT_MS)
    rows = caption.locator("xpath=..").locator("tbody tr")
    assert rows.count() == min(2_000, int(shown.replace(",", "")))
    screenshot(board.page, f"task-schedules-{source}")
    assert actions.count <= 1


def test_slower_since_the_deploy_and_by_how_much(board: Dashboard, actions: Actions, source: str) -> None:
    if source == "archive":  # of a year, the deploy is long ago
        actions.press(board.range("90 d"))
    actions.press(board.root.get_by_role("tab", name="Changes"))
    table = board.panel.locator("table").first
    expect(table).to_be_visible(timeout=TIMEOUT_MS)
    if source != "archive":
        row = cf.compare(board.calls).iloc[0]
        expect(table).to_contain_text(f"{row['duration_ratio']:.2f}", timeout=TIMEOUT_MS)
        expect(table).to_contain_text(str(row["duration_verdict"]))
    screenshot(board.page, f"task-changes-{source}")
    assert actions.count <= 2


def test_when_the_quota_is_near_and_by_whom(board: Dashboard, actions: Actions, source: str) -> None:
    actions.press(board.root.get_by_role("tab", name="Concurrency"))
    peaks = cf.concurrency_peaks(board.calls, by="function").sort_values("at_peak", ascending=False)
    row = board.panel.locator("tbody tr", has=board.page.get_by_text(peaks.index[0], exact=True)).first
    expect(row).to_contain_text(f"{peaks['at_peak'].iloc[0]:,}", timeout=TIMEOUT_MS)
    if source != "archive":  # of equal peaks it shows one of another day
        expect(row).to_contain_text(f"{peaks['peak_time'].iloc[0]:%Y-%m-%d %H:%M}")
    screenshot(board.page, f"task-concurrency-{source}")
    assert actions.count <= 1


def test_everything_of_the_outage(board: Dashboard, actions: Actions) -> None:
    outage = incident(board)
    margin = (board.calls["start_time"].max() - board.calls["start_time"].min()) / 100
    actions.drag(outage["start_time"] - margin, outage["end_time"] + margin)
    chip = board.root.get_by_role("button", name=re.compile("Remove the filter from"))
    expect(chip).to_be_visible(timeout=TIMEOUT_MS)
    edges = re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d", chip.inner_text())
    start, end = (pd.Timestamp(edge, tz="UTC") for edge in edges)
    assert start <= outage["start_time"] <= outage["end_time"] <= end <= outage["end_time"] + 2 * margin
    low = board.calls["start_time"].between(start + pd.Timedelta("1min"), end).sum()
    high = board.calls["start_time"].between(start, end + pd.Timedelta("1min")).sum()
    wait_until(board.page, lambda: low <= int(board.key_figure("Calls").inner_text().replace(",", "")) <= high, "calls")
    assert actions.count == 1


def test_what_differs_between_failed_and_good_calls(board: Dashboard, actions: Actions, source: str) -> None:
    actions.press(board.status("Failed"))
    actions.press(board.root.get_by_role("tab", name="What differs"))
    failed = board.calls["status"] == "Failed"
    row = cf.contrast(board.calls, failed).iloc[0]
    table = board.panel.locator("table").first
    expect(table.locator("caption")).to_contain_text(f"{failed.sum():,} selected calls", timeout=TIMEOUT_MS)
    expect(table.locator("tbody tr").first).to_contain_text(str(row["attribute"]).replace("_", " "))
    screenshot(board.page, f"task-differs-{source}")
    assert actions.count <= 2


def test_csv_and_code_of_exactly_this(board: Dashboard, voila: Server, actions: Actions, source: str) -> None:
    board.status("Failed").click()
    selected = board.calls[board.calls["status"] == "Failed"]
    board.shows(len(selected))
    actions.press(board.button("CSV"))
    written = board.root.locator(".callframe-message a[download]")
    expect(written).to_be_visible(timeout=TIMEOUT_MS)
    name = written.get_attribute("download")
    assert cf.read_csv(voila.notebooks / str(name))["call_id"].tolist() == selected["call_id"].tolist()
    actions.press(board.button("Code"))
    code = board.root.locator(".callframe-code textarea")
    expect(code).to_have_value(re.compile(r"isin\(\['Failed'\]\)"), timeout=TIMEOUT_MS)
    assert {"project": "project.calls", "file": "read_parquet", "archive": "archive.calls"}.get(source, "calls") in (
        code.input_value()
    )
    assert actions.count == 2
