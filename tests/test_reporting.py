"""The report: one self-contained page that runs nothing and states what it covers."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from chromium import launch
from factories import (
    HOUR_MS,
    NOW_MS,
    SECOND_MS,
    attach_coverage,
    call_frame,
    fetched_frame,
    make_call,
    schedule_frame,
    scheduled_calls,
)

import callframe as cf
from callframe import frame, reporting
from callframe.api.schemas import CallError
from callframe.completeness import FunctionCoverage
from callframe.reporting import failure_groups
from callframe.reporting import page as page_module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>'\"</pre></details>{{ 7 * 7 }} $x$ \x1b[31mred\u202e"
LONG = "".join(f"line {k} <b>&amp;</b> " + "x" * 80 + "\n" for k in range(10_000))
VOID = {"meta", "link", "img", "br", "hr", "input"}
PLAIN = (
    "html head meta title style link body main header footer nav section article h1 h2 h3 h4 p a b strong small dl dt"
    " dd div table caption thead tbody tr th td figure img figcaption meter pre details summary ul li"
)
TAGS = {*PLAIN.split(), "ol", "code"}


class Read(HTMLParser):
    """Read a page: its elements, its text by element, and whether they nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], data.strip()))

    @property
    def text(self) -> str:
        return " ".join(" ".join(text for tag, text in self.texts if tag != "style").split())

    def key_figures(self) -> dict[str, str]:
        """Read the key figures at the top."""
        names = [text for tag, text in self.texts if tag == "dt"]
        start = self.texts.index(("dt", "Calls"))
        top = self.texts[start:]
        return {name: top[top.index(("dt", name)) + 1][1] for name in names[names.index("Calls") :][:7]}


def html(calls: pd.DataFrame, *, drawn: bool = False, **options: Any) -> str:
    """Render a page; plots take their time, and most tests read only the text."""
    file = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        if not drawn:
            patch.setattr(page_module, "_draw_plots", lambda *_: {})
        cf.report(calls, file, **options)
    return file.getvalue().decode("utf-8")


def read(calls: pd.DataFrame, **options: Any) -> Read:
    return Read(html(calls, **options))


def hostile() -> pd.DataFrame:
    """Make calls whose every text is an attack."""
    trace = f'Traceback (most recent call last):\n  File "handler.py", line 1, in {HOSTILE}\nValueError: {HOSTILE}'
    errors = [CallError(HOSTILE, trace), CallError(LONG, None), CallError("short", LONG + HOSTILE), None]
    calls = [
        make_call(
            id=1 + k,
            function_id=1 + k % 3,
            status="Failed" if k % 4 < 3 else "Completed",
            error=errors[k % 4],
            start_time=NOW_MS + k * 60 * SECOND_MS,
            end_time=NOW_MS + (k * 60 + 5) * SECOND_MS,
            scheduled_time=NOW_MS + k * 60 * SECOND_MS - 500,
            schedule_id=7,
        )
        for k in range(48)
    ]
    return call_frame(*calls, labels={1: HOSTILE, 2: "W" * 1_000_000, 3: f"{HOSTILE} {'long name ' * 30}"})


@pytest.fixture(scope="module")
def demo() -> tuple[pd.DataFrame, pd.DataFrame]:
    with cf.demo(calls=3_000, functions=6) as project:
        return project.calls(start="15d", progress=False), project.schedules()


@pytest.fixture(scope="module")
def page(demo: tuple[pd.DataFrame, pd.DataFrame]) -> Read:
    return read(demo[0], schedules=demo[1], drawn=True)


@pytest.fixture(scope="module")
def attacked() -> str:
    calls = hostile()
    rows = [FunctionCoverage(1, HOSTILE, reasons=(HOSTILE,))]
    attach_coverage(calls, rows, project=HOSTILE, fetched_at="2026-10-01T00:00:00.000Z", window=None)
    planned = schedule_frame({"name": HOSTILE, "function": HOSTILE, "cron_expression": HOSTILE})
    return html(calls, schedules=planned, title=HOSTILE, drawn=True)


# Content


def test_page_opens_with_the_findings(demo: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    calls, planned = demo
    page = html(calls, schedules=planned)
    places = [page.index(sentence) for sentence in cf.findings(calls, planned)["sentence"]]
    assert places == sorted(places)
    assert places[-1] < page.index('id="functions"')


def test_key_figures_are_those_of_pandas(page: Read, demo: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    calls, planned = demo
    finished = calls[calls["status"] != "Running"]
    rate = finished["status"].isin(["Failed", "Timeout"]).mean()
    missed = (cf.missed_runs(calls, planned)["state"] == "missed").sum()
    assert page.key_figures() | {"Duration, median": "", "Duration, p95": "", "Schedule delay, p95": ""} == {
        "Calls": f"{len(calls):,}", "Failure rate": f"{rate:.1%}", "Duration, median": "", "Duration, p95": "",
        "Schedule delay, p95": "", "Missed runs": f"{missed:,}", "Coverage": "complete",
    }  # fmt: skip


def test_p95_of_work_that_was_cut_off_is_a_lower_bound() -> None:
    calls = call_frame(
        *(make_call(id=1 + k, end_time=NOW_MS + 5 * SECOND_MS) for k in range(8)),
        *(make_call(id=90 + k, status="Timeout", end_time=NOW_MS + 540 * SECOND_MS) for k in range(8)),
    )
    assert read(calls).key_figures()["Duration, p95"] == "> 9.0 min"


def test_failure_rate_comes_with_its_wilson_interval() -> None:
    calls = call_frame(*(make_call(id=1 + k, status="Failed" if k == 0 else "Completed") for k in range(20)))
    assert "95 %: 0.9 to 23.6%" in read(calls).text


def test_every_function_has_its_row(page: Read, demo: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    names = set(demo[0]["function"].unique())
    assert names <= {text for tag, text in page.texts if tag == "th"}


def test_every_failure_group_has_its_count(page: Read, demo: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    counts = [f"{one:,}" for one in cf.failures(demo[0])["count"]]
    shown = [text for tag, text in page.texts if tag == "b"]
    assert [one for one in shown if one.replace(",", "").isdigit()] == counts


def test_groups_beyond_those_with_an_example_are_listed() -> None:
    names = [chr(97 + k // 26) + chr(97 + k % 26) for k in range(failure_groups.MAX_SHOWN + 5)]
    errors = [CallError(f"cannot do {'x'.join(name)}", None) for name in names]
    calls = call_frame(*(make_call(id=1 + k, status="Failed", error=error) for k, error in enumerate(errors)))
    text = read(calls).text
    assert "5 more groups" in text
    assert [error for error in errors if str(error.message) not in text] == []


def test_page_holds_the_end_of_a_trace_and_the_whole() -> None:
    trace = "Traceback (most recent call last):\n" + "".join(f"  frame {k}\n" for k in range(100)) + "ValueError: end"
    found = read(call_frame(make_call(status="Failed", error=CallError("end", trace))))
    short, whole = (text for tag, text in found.texts if tag == "pre")
    assert (len(short.splitlines()), whole) == (failure_groups.MAX_EXCERPT_LINES + 1, trace)


def test_message_that_is_not_in_the_trace_precedes_it() -> None:
    found = read(call_frame(make_call(status="Failed", error=CallError("the message", "KeyError: 'x'"))))
    assert ("pre", "the message\n\nKeyError: 'x'") in found.texts


def test_traces_can_be_left_out() -> None:
    calls = call_frame(make_call(status="Failed", error=CallError("message", "Traceback\nKeyError: 'in trace'")))
    found = read(calls, traces=False)
    assert ("in trace" in found.text, "left out on request" in found.text) == (False, True)


def test_text_that_seems_to_hold_a_secret_is_left_out() -> None:
    word = "hunter" + "2" * 10
    calls = call_frame(make_call(status="Failed", error=CallError(f"login failed: password={word}", None)))
    page = read(calls)
    assert word not in html(calls)
    assert "seems to hold a password" in page.text


def test_texts_beyond_what_a_page_can_hold_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_groups, "MAX_TEXT", 10_000)
    calls = call_frame(make_call(status="Failed", error=CallError("y " * 50_000, None)))
    page = html(calls)
    assert len(page) < 2_000_000
    assert "too many for this page" in page


def test_missed_runs_are_listed_with_their_schedule() -> None:
    times = [NOW_MS - k * HOUR_MS for k in range(1, 25) if k != 5]
    text = read(fetched_frame(scheduled_calls(times)), schedules=schedule_frame({"name": "hourly job"})).text
    assert "Missed runs, the latest first" in text
    assert f"{pd.Timestamp(NOW_MS - 5 * HOUR_MS, unit='ms'):%Y-%m-%d %H:%M} hourly job f7" in text


def test_schedules_that_all_ran_are_counted_in_one_sentence() -> None:
    times = [NOW_MS - k * HOUR_MS for k in range(1, 25)]
    assert (
        "1 schedule ran at every scheduled time"
        in read(fetched_frame(scheduled_calls(times)), schedules=schedule_frame({})).text
    )


def test_unknown_scheduled_times_are_not_counted_as_missed() -> None:
    times = [NOW_MS - k * HOUR_MS for k in range(1, 25) if k != 5]
    calls = fetched_frame(scheduled_calls(times), status=["Failed"])
    assert "Missed runs 0 of 24 scheduled times 1 unknown" in read(calls, schedules=schedule_frame({})).text


def test_without_schedules_missed_runs_are_not_known() -> None:
    assert read(call_frame(make_call())).key_figures()["Missed runs"] == "not known"


def test_failures_that_last_until_now_are_marked() -> None:
    calls = fetched_frame(
        [make_call(id=1 + k, start_time=NOW_MS - (9 - k) * HOUR_MS, status="Failed") for k in range(8)]
    )
    assert "not yet" in read(calls).text


def test_incomplete_frame_is_reported_with_the_reason() -> None:
    calls = call_frame(make_call())
    rows = [FunctionCoverage(2, "2", calls=1), FunctionCoverage(3, "gone", reasons=("forbidden by functionsAcl",))]
    attach_coverage(calls, rows, project="p", fetched_at="2026-10-01T00:00:00.000Z", window=None)
    found = read(calls)
    assert found.key_figures()["Coverage"] == "INCOMPLETE"
    assert "forbidden by functionsAcl" in found.text


def test_frame_without_coverage_is_reported() -> None:
    found = read(call_frame(make_call()))
    assert found.key_figures()["Coverage"] == "not known"
    assert "not certain that these are all calls, each once: completeness not known" in found.text


def test_report_on_failures_alone_says_what_they_were_selected_from() -> None:
    calls = fetched_frame([make_call(), make_call(id=2, status="Failed")])
    found = read(calls[calls["status"] == "Failed"])
    assert found.key_figures()["Coverage"] == "not known"
    assert "not certain that these are all calls, each once: selected from 2 calls" in found.text


@pytest.mark.parametrize("planned", [None, schedule_frame({})], ids=["no schedules", "schedules"])
def test_page_of_an_empty_frame_says_so(planned: pd.DataFrame | None) -> None:
    found = read(frame.empty(), schedules=planned)
    assert found.key_figures()["Calls"] == "0"
    assert found.key_figures()["Failure rate"] == "no data"
    assert "There are no calls." in found.text


@pytest.mark.parametrize("status", ["Running", "Completed", "Failed", "Timeout", "Paused"])
def test_page_of_one_call_is_complete(status: str) -> None:
    assert read(call_frame(make_call(status=status)), drawn=True).key_figures()["Calls"] == "1"


def test_times_are_in_the_time_zone_asked_for() -> None:
    assert "2026-09-30 14:00 Europe/Oslo" in read(call_frame(make_call()), tz="Europe/Oslo").text


def test_title_names_the_project_unless_one_is_given(demo: tuple[pd.DataFrame, pd.DataFrame], page: Read) -> None:
    assert ("h1", "Function calls of demo") in page.texts
    assert ("h1", "Mine") in read(demo[0].head(3), title="Mine").texts


# HTML


def test_page_has_no_scripts_and_loads_nothing(page: Read) -> None:
    addresses = [value or "" for _, attrs in page.elements for name, value in attrs.items() if name in {"src", "href"}]
    assert {tag for tag, _ in page.elements} <= TAGS
    assert all(one.startswith(("#", "data:")) for one in addresses)


def test_content_policy_allows_only_the_style_and_images_of_the_page(page: Read) -> None:
    policy = next(attrs["content"] for tag, attrs in page.elements if "http-equiv" in attrs)
    style = re.search(r"<style>(.*)</style>", html(frame.empty()), re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_no_element_has_a_style_or_a_handler_of_its_own(page: Read) -> None:
    names = {name for _, attrs in page.elements for name in attrs}
    assert not [name for name in names if name == "style" or name.startswith("on")]


def test_plots_have_descriptions(page: Read) -> None:
    descriptions = [attrs["alt"] or "" for tag, attrs in page.elements if tag == "img"]
    assert len(descriptions) == 8
    assert all("complete" in description for description in descriptions)


def test_links_within_the_page_lead_somewhere(page: Read) -> None:
    ids = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    links = {(attrs["href"] or "")[1:] for tag, attrs in page.elements if tag == "a"}
    assert links
    assert links <= ids


def test_page_of_a_hundred_functions_is_below_3_mb() -> None:
    count = np.arange(3_000)
    calls = call_frame(
        *(
            make_call(
                id=1 + k,
                function_id=1 + k % 100,
                start_time=NOW_MS + k * 60_000,
                end_time=NOW_MS + k * 60_000 + 1 + k % 999,
            )
            for k in count.tolist()
        ),
        labels={k: f"function-{k:03d}-with-a-name-of-some-length" for k in range(1, 101)},
    )
    assert len(html(calls, drawn=True)) < 3_000_000


def test_matplotlib_style_of_the_user_does_not_change_the_plots(demo: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    calls = demo[0].head(50)
    plain = html(calls, drawn=True)
    with mpl.rc_context({"figure.facecolor": "black", "text.color": "white", "font.size": 30}):
        assert html(calls, drawn=True) == plain
        assert mpl.rcParams["font.size"] == 30


def test_no_figure_is_left_open(demo: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    others = plt.get_fignums()
    html(demo[0].head(50), drawn=True)
    assert plt.get_fignums() == others


def test_calls_are_not_changed(demo: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    calls = demo[0].head(200)
    before = calls.copy(deep=True)
    with pytest.warns(UserWarning, match="Missed runs"):
        html(calls, schedules=demo[1], drawn=True)
    pd.testing.assert_frame_equal(calls, before)


# The file


def test_report_replaces_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old")
    cf.report(call_frame(make_call()), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_bytes().startswith(b"<!DOCTYPE html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_path_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(cf.errors.FileError, match="could not be written"):
        cf.report(frame.empty(), tmp_path / "none" / "report.html")


def test_nothing_is_written_for_an_invalid_frame(tmp_path: Path) -> None:
    with pytest.raises(cf.errors.FrameError, match="missing the columns status"):
        cf.report(call_frame(make_call()).drop(columns="status"), tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_invalid_schedules_are_refused() -> None:
    with pytest.raises(cf.errors.FrameError, match="schedule"):
        html(call_frame(make_call()), schedules=pd.DataFrame({"a": [1]}))


def test_unknown_time_zone_is_refused() -> None:
    with pytest.raises(cf.errors.ArgumentError, match="not a time zone"):
        html(frame.empty(), tz="Europe/Nowhere")


# Hostile text


def test_hostile_text_stays_text(attacked: str) -> None:
    found = Read(attacked)
    names = {name for _, attrs in found.elements for name in attrs}
    assert {tag for tag, _ in found.elements} <= TAGS
    assert not [name for name in names if name.startswith("on")]
    assert "{{ 7 * 7 }}" in found.text


def test_control_characters_do_not_reach_the_page(attacked: str) -> None:
    assert "\x1b" not in attacked
    assert "\u202e" not in attacked


def test_text_of_a_megabyte_is_whole(attacked: str) -> None:
    texts = [text for tag, text in Read(attacked).texts if tag == "pre"]
    assert any(LONG.strip() in text for text in texts)


def test_lone_surrogate_is_replaced() -> None:
    assert "bad \ufffd end" in html(call_frame(make_call()), title="bad \ud83d end")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory, attacked: str) -> Iterator[tuple[Page, list[str]]]:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(attacked, encoding="utf-8")
    with launch() as opened:
        shown = opened.new_page(viewport={"width": 1000, "height": 800})
        happened: list[str] = []
        shown.on("console", lambda message: happened.append(f"console: {message.text}"))
        shown.on("pageerror", lambda error: happened.append(f"error: {error}"))
        shown.on("request", lambda request: happened.append(request.url))
        shown.on("dialog", lambda dialog: happened.append(f"dialog: {dialog.message}"))
        shown.goto(path.as_uri())
        for summary in shown.locator("summary").all():
            summary.click()
        yield shown, [one for one in happened if not one.startswith(("file:", "data:"))]


def test_nothing_happens_in_a_browser(chromium: tuple[Page, list[str]]) -> None:
    assert chromium[1] == []


@pytest.mark.parametrize("width", [1000, 1600])
def test_page_is_not_wider_than_the_window(chromium: tuple[Page, list[str]], width: int) -> None:
    shown, _ = chromium
    shown.set_viewport_size({"width": width, "height": 800})
    assert shown.evaluate("document.documentElement.scrollWidth") == width


def test_every_plot_is_decoded_in_a_browser(chromium: tuple[Page, list[str]]) -> None:
    widths = chromium[0].evaluate("[...document.images].map(one => one.complete && one.naturalWidth)")
    assert len(widths) >= 6
    assert all(widths)


def test_style_is_applied_in_a_browser(chromium: tuple[Page, list[str]]) -> None:
    assert chromium[0].evaluate("getComputedStyle(document.querySelector('main')).maxWidth") == "1160px"


def test_page_is_dark_if_the_reader_prefers_it(chromium: tuple[Page, list[str]]) -> None:
    shown, _ = chromium
    shown.emulate_media(color_scheme="dark")
    dark = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    shown.emulate_media(color_scheme="light")
    assert (dark, shown.evaluate("getComputedStyle(document.body).backgroundColor")) == (
        "rgb(18, 19, 20)",
        "rgb(255, 255, 255)",
    )


# An archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> cf.Archive:
    made = cf.Archive(tmp_path_factory.mktemp("archive") / "calls.delta")
    with cf.demo(calls=2_000, functions=6, days=4) as project:
        made.sync(project)
    return made


def of_archive(archive: cf.Archive, **options: Any) -> Read:
    file = io.BytesIO()
    cf.report(archive, file, **options)
    return Read(file.getvalue().decode())


def test_report_on_a_small_archive_reads_its_calls(archive: cf.Archive) -> None:
    assert of_archive(archive).key_figures()["Missed runs"] != "not counted"


def test_report_on_too_many_calls_describes_their_rollup(archive: cf.Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "MAX_CALLS", 1_000)
    page = of_archive(archive)
    calls = archive.calls()
    failed = calls["status"].isin(["Failed", "Timeout"]).sum()
    assert page.key_figures()["Calls"] == f"{len(calls):,}"
    assert f"{failed:,} of" in page.text
    assert "describes their rollup" in page.text
    assert len([tag for tag, _ in page.elements if tag == "img"]) == 4


def test_report_on_a_part_of_a_large_archive_reads_its_calls(
    archive: cf.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "MAX_CALLS", 1_000)
    start = archive.calls()["start_time"].iloc[-200]
    assert of_archive(archive, start=start).key_figures()["Calls"] == "200"


def test_report_on_a_large_archive_lists_its_time_ranges(archive: cf.Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "MAX_CALLS", 1_000)
    assert "Time ranges in the archive" in of_archive(archive).text


@pytest.mark.parametrize(
    ("options", "message"),
    [({"start": "7d"}, "start= and end= are for an archive"), ({"end": "1d"}, "are for an archive")],
)
def test_window_of_a_frame_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(cf.errors.ArgumentError, match=message):
        cf.report(frame.empty(), io.BytesIO(), **options)


def test_deleted_schedules_are_checked_for_as_long_as_they_were_listed(
    archive: cf.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, seen = archive.calls(), archive.schedules()
    seen["last_seen_time"] = seen["gone_time"] = calls["start_time"].iloc[len(calls) // 2]
    monkeypatch.setattr(archive, "schedules", lambda: seen)
    expected = int(cf.schedule_report(calls, seen)["missed"].sum())
    assert of_archive(archive).key_figures()["Missed runs"] == f"{expected:,}"


def test_schedules_beside_an_archive_are_refused(archive: cf.Archive) -> None:
    with pytest.raises(cf.errors.ArgumentError, match="An archive has its own schedules"):
        cf.report(archive, io.BytesIO(), schedules=pd.DataFrame())


# The link


def test_notebook_links_a_report_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    link = cf.report(frame.empty(), "my report.html")
    assert link.size_bytes == (tmp_path / "my report.html").stat().st_size
    assert '<a href="my%20report.html"' in link._repr_html_()


def test_report_elsewhere_is_named_without_a_link(tmp_path: Path) -> None:
    link = cf.report(frame.empty(), tmp_path / "<report>.html")
    assert "<a" not in link._repr_html_()
    assert "&lt;report&gt;.html" in link._repr_html_()
