"""A summary is shown in units, with all text escaped, and is a plain frame otherwise."""

from __future__ import annotations

import copy
import html
import io
import pickle
import re
import subprocess
import sys
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import IPython
import pandas as pd
import pytest
from factories import MINUTE_MS, NOW_MS, SECOND_MS, attach_coverage, call_frame, call_frames, few_examples, make_call
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.formatters import DisplayFormatter

import callframe as cf
from callframe import frame
from callframe.completeness import FunctionCoverage
from callframe.errors import FrameError, printable
from callframe.formatting import (
    SUMMARY_COLUMNS,
    format_duration,
    format_interval,
    format_percent,
    format_summary,
)
from callframe.reporting import notebook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOSTILE = "<img src=x onerror=alert(1)>\"'&\x1b[2J\u202e"


class Reader(HTMLParser):
    """Collects the tags of a page, its attributes and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(autouse=True, scope="module")
def formatter() -> Iterator[Any]:
    """Run as in IPython, with its formatter."""
    shell = SimpleNamespace(display_formatter=DisplayFormatter())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("IPython.get_ipython", lambda: shell)
        notebook.show_in_notebooks()
        yield shell.display_formatter


def display(value: object) -> str:
    """Show a value as a notebook does."""
    return str(formats(value)["text/html"])


def formats(value: object) -> dict[str, Any]:
    shell: Any = IPython.get_ipython()
    available: dict[str, Any] = shell.display_formatter.format(value)[0]
    return available


def pandas_html(table: pd.DataFrame) -> str:
    text: str = getattr(pd.DataFrame, "_repr_html_")(table)  # noqa: B009 - missing from the stubs
    return text


def rows(page: str) -> list[dict[str, str]]:
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]
    plain = [[html.unescape(re.sub(r"<[^>]*>", "", cell)).replace("\xa0", " ") for cell in row] for row in cells]
    return [dict(zip(plain[0], row, strict=True)) for row in plain[1:]]


def summary_of(*statuses: str, name: str = "ingest", seconds: int = 12) -> pd.DataFrame:
    calls = [
        make_call(
            id=place,
            status=status,
            end_time=NOW_MS + (seconds + place) * SECOND_MS,
            scheduled_time=NOW_MS - place * MINUTE_MS,
        )
        for place, status in enumerate(statuses)
    ]
    return cf.summarize(call_frame(*calls, labels={7: name}))


@pytest.fixture
def summary() -> pd.DataFrame:
    return summary_of(*["Completed"] * 8, "Failed", "Timeout")


# Content


def test_notebook_shows_a_summary_in_units(summary: pd.DataFrame) -> None:
    [row] = rows(display(summary))
    assert row["function"] == "ingest"
    assert row["failure rate"] == "20.0% (5.7 to 51.0%)"
    assert (row["duration p50 (completed)"], row["duration p95 (completed)"]) == ("16.0 s", "> 21.0 s")
    assert (row["delay max"], row["late > 1.0 min"]) == ("9.0 min", "80.0%")
    assert row["last success (UTC)"] == "2026-09-30 12:00"


def test_thousands_are_grouped() -> None:
    [row] = rows(display(summary_of(*["Completed"] * 1_234)))
    assert row["calls"] == "1,234"


def test_rate_without_finished_calls_is_no_data() -> None:
    [row] = rows(display(summary_of("Running")))
    assert (row["failure rate"], row["last success (UTC)"]) == ("no data", "none")


def test_ids_are_shown_in_full() -> None:
    calls = call_frame(make_call(schedule_id=9007199254740991), make_call(id=2))
    assert {row["schedule"] for row in rows(display(cf.summarize(calls, "schedule")))} == {
        "9007199254740991",
        "no schedule",
    }


def test_times_and_several_groups_have_columns_of_their_own() -> None:
    [row] = rows(display(cf.summarize(call_frame(make_call()), ["function", "1h"])))
    assert (row["function"], row["start time"]) == ("7", "2026-09-30 12:00")


@pytest.mark.parametrize("status", ["error response", "stuck", "other"])
def test_column_of_zeros_is_left_out(summary: pd.DataFrame, status: str) -> None:
    assert status not in rows(display(summary))[0]


def test_p95_is_shown_with_its_interval() -> None:
    [row] = rows(display(summary_of(*["Completed"] * 100, seconds=100)))
    assert row["duration p95 (completed)"] == "3.2 min (3.2 to 3.3 min)"


@pytest.mark.parametrize(
    ("functions", "text"),
    [
        (None, "1 call, completeness not known."),
        ([], "1 call, fetched 2026-10-01 00:00 UTC, complete."),
        ([FunctionCoverage(1, "1", ("403 on page 1",))], "UTC, INCOMPLETE."),
    ],
)
def test_footer_states_the_coverage(functions: list[FunctionCoverage] | None, text: str) -> None:
    calls = call_frame(make_call())
    if functions is not None:
        attach_coverage(calls, functions, project="p", fetched_at="2026-10-01T00:00:00Z")
    assert text in "".join(read(display(cf.summarize(calls))).texts)


def test_rows_beyond_what_pandas_shows_are_counted() -> None:
    calls = call_frame(*(make_call(id=place, function_id=place) for place in range(1, 9)))
    with pd.option_context("display.max_rows", 5):
        page = display(cf.summarize(calls))
    assert (len(rows(page)), "3 more rows are not shown" in page, "8 calls" in page) == (5, True, True)


def test_long_name_is_shortened_and_complete_in_its_title() -> None:
    name = "a" * 100 + "z"
    page = display(summary_of("Completed", name=name))
    assert f'title="{name}"' in page
    assert len(rows(page)[0]["function"]) == 40


@settings(few_examples, max_examples=10)
@given(call_frames(), st.sampled_from(["function", "schedule", "status", ["function", "1h"]]))
def test_every_summary_is_shown_and_well_formed(calls: pd.DataFrame, by: str | list[str]) -> None:
    summary = cf.summarize(calls, by)
    assert len(rows(display(summary))) == len(summary) == len(rows(display(cf.style(summary))))
    read(display(cf.style(summary)))


def test_empty_summary_is_a_table_without_rows() -> None:
    summary = cf.summarize(frame.empty())
    assert rows(display(summary)) == rows(display(cf.style(summary))) == []


# Hostile text


@pytest.mark.parametrize("style", [lambda summary: summary, cf.style])
def test_hostile_name_stays_text(style: Callable[[pd.DataFrame], object]) -> None:
    reader = read(display(style(summary_of("Completed", name=HOSTILE))))
    assert "img" not in reader.tags
    assert reader.attributes <= {"style", "class", "border", "title", "scope"}
    assert "<img src=x onerror=alert(1)>\"'&\ufffd[2J\ufffd" in reader.texts


@pytest.mark.parametrize("style", [lambda summary: summary, cf.style])
def test_hostile_name_of_a_level_stays_text(style: Callable[[pd.DataFrame], object], summary: pd.DataFrame) -> None:
    summary.index.name = HOSTILE
    assert "img" not in read(display(style(summary))).tags


def test_hostile_attribute_stays_text(summary: pd.DataFrame) -> None:
    summary.attrs["late_after_s"] = HOSTILE
    assert "img" not in read(display(cf.style(summary))).tags


def test_lone_surrogate_can_be_encoded() -> None:
    summary = summary_of("Completed")
    summary.index = pd.Index(["\ud83d"], dtype="object", name="function")
    assert display(summary).encode()
    assert format_summary(summary).encode()


# A plain frame


def test_summary_is_a_plain_frame(summary: pd.DataFrame) -> None:
    assert type(summary) is pd.DataFrame


def test_summary_has_the_columns_that_are_documented(summary: pd.DataFrame) -> None:
    assert tuple(summary.columns) == SUMMARY_COLUMNS


@pytest.mark.parametrize(
    "derive",
    [
        pd.DataFrame.copy,
        lambda summary: summary.head(1),
        lambda summary: summary[summary["calls"] > 1],
        lambda summary: summary.sort_values("failure_rate"),
        copy.copy,
        copy.deepcopy,
        lambda summary: pickle.loads(pickle.dumps(summary)),
    ],
)
def test_copies_and_rows_of_a_summary_are_shown_in_units(
    derive: Callable[[pd.DataFrame], pd.DataFrame], summary: pd.DataFrame
) -> None:
    assert rows(display(derive(summary)))[0]["duration p50 (completed)"] == "16.0 s"


@pytest.mark.parametrize(
    "derive",
    [
        lambda summary: summary[["calls"]],
        lambda summary: summary[summary.columns[::-1]],
        pd.DataFrame.reset_index,
        lambda summary: summary.reset_index(drop=True),
        pd.DataFrame.transpose,
        pd.DataFrame.isna,
        lambda summary: summary.assign(more=1),
        lambda summary: summary.astype("str"),
        lambda summary: summary.set_axis(range(len(summary.columns)), axis=1),
        lambda summary: pd.DataFrame(summary.to_dict()),
    ],
)
def test_frame_of_other_columns_is_shown_as_pandas_does(
    derive: Callable[[pd.DataFrame], pd.DataFrame], summary: pd.DataFrame
) -> None:
    derived = derive(summary)
    assert display(derived) == pandas_html(derived)


def test_formatter_that_was_registered_before_shows_all_other_frames(
    formatter: Any, summary: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    html_formatter = DisplayFormatter().formatters["text/html"]
    html_formatter.for_type(pd.DataFrame, lambda _: "mine")
    monkeypatch.setitem(formatter.formatters, "text/html", html_formatter)
    for _ in range(2):
        notebook.show_in_notebooks()
    assert "ingest" in display(summary)
    assert display(pd.DataFrame()) == "mine"


def test_summary_needs_no_ipython() -> None:
    script = "import sys, callframe as cf; cf.summarize(cf.frame.empty()); print('IPython' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_pickle_and_copy_are_equal(summary: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(summary)), summary)
    assert summary.copy().equals(summary)


def test_csv_is_that_of_the_frame(summary: pd.DataFrame) -> None:
    assert summary.to_csv() == summary.copy().to_csv()


def test_parquet_takes_a_summary(summary: pd.DataFrame) -> None:
    file = io.BytesIO()
    summary.to_parquet(file)
    assert pd.read_parquet(file)["calls"].tolist() == [10]


def test_rows_changed_in_place_are_shown_as_they_are_now(summary: pd.DataFrame) -> None:
    summary["calls"] = 77
    assert rows(display(summary))[0]["calls"] == "77"


def test_column_added_in_place_is_shown_as_pandas_does(summary: pd.DataFrame) -> None:
    summary["mine"] = "here"
    assert display(summary) == pandas_html(summary)


def test_notebook_set_to_show_frames_as_text_does_so(summary: pd.DataFrame) -> None:
    with pd.option_context("display.notebook_repr_html", False):  # noqa: FBT003 - pandas takes it so
        assert "text/html" not in formats(summary)


# Colours


def test_style_colours_failures_by_the_lower_end_of_their_interval() -> None:
    few, many = (cf.style(summary_of(*["Failed"] * count)) for count in (1, 100))
    strengths = [float(re.findall(r"213,94,0,([\d.]+)", display(one))[0]) for one in (few, many)]
    assert strengths == [0.4, 0.55]


def test_style_colours_durations_that_are_not_reached() -> None:
    assert "rgba(240,228,66" in display(cf.style(summary_of("Timeout")))


def test_style_does_not_colour_complete_success() -> None:
    assert "rgba(213" not in display(cf.style(summary_of("Completed")))


def test_summary_itself_is_not_coloured(summary: pd.DataFrame) -> None:
    assert "rgba" not in display(summary)


def test_style_takes_rows_of_a_summary(summary: pd.DataFrame) -> None:
    assert len(rows(display(cf.style(summary[summary["calls"] > 0])))) == 1


def test_style_keeps_the_summary_it_was_given(summary: pd.DataFrame) -> None:
    styled = cf.style(summary)
    summary["calls"] = 77
    assert rows(display(styled))[0]["calls"] == "10"


def test_narrow_table_fits_and_names_the_columns_left_out(summary: pd.DataFrame) -> None:
    *lines, note = format_summary(summary, width=72).splitlines()
    assert max(map(len, lines)) <= 72
    assert {"delay p50", "late > 1.0 min"} <= set(re.split(": |, ", note.rstrip(".")))
    assert "failure rate" in lines[0]


def test_wide_table_leaves_nothing_out(summary: pd.DataFrame) -> None:
    assert format_summary(summary, width=200) == format_summary(summary)


def test_style_in_a_terminal_is_the_table(summary: pd.DataFrame) -> None:
    assert repr(cf.style(summary)) == format_summary(summary)


@pytest.mark.parametrize("value", [pd.DataFrame({"calls": [1]}), None, 3])
def test_style_refuses_anything_else(value: Any) -> None:
    with pytest.raises(FrameError, match="Not a summary: missing columns"):
        cf.style(value)


# Text


def test_table_has_a_header_and_a_line_per_group(summary: pd.DataFrame) -> None:
    header, line = format_summary(summary).splitlines()
    assert header.split()[:5] == ["function", "calls", "failed", "timeout", "running"]
    assert line.split()[:9] == ["ingest", "10", "1", "1", "0", "20.0%", "(5.7", "to", "51.0%)"]
    assert len(header) == len(line)


def test_table_shows_long_names_in_full() -> None:
    assert "x" * 100 in format_summary(summary_of("Completed", name="x" * 100))


def test_table_keeps_each_group_on_its_line() -> None:
    assert len(format_summary(summary_of("Completed", name="a\nb\x1b")).splitlines()) == 2


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 ms"), (850, "850 ms"), (-20, "-20 ms"), (12_340, "12.3 s"), (90_000, "1.5 min"), (10_800_000, "3.0 h"),
        (259_200_000, "3.0 d"), (86_400_000_000, "1,000.0 d"), (-90_000, "-1.5 min"),
        (8_640_000_000_000, "100,000.0 d"), (253_402_300_799_999, "2,932,897.0 d"),
    ],
)  # fmt: skip
def test_duration_has_its_largest_sensible_unit(milliseconds: int, text: str) -> None:
    assert format_duration(pd.Series([milliseconds]).astype("timedelta64[ms]").iloc[0]) == text


def test_missing_duration_is_a_dash() -> None:
    assert format_duration(pd.NaT) == "-"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0%"), (1, "100.0%"), (0.0234, "2.3%"), (0.0001, "<0.1%"), (0.9999, ">99.9%"), (float("nan"), "no data")],
)
def test_share_is_never_rounded_to_nothing_or_all(share: float, text: str) -> None:
    assert format_percent(share) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        ("3.2 min", "3.3 min", "3.2 to 3.3 min"), ("850 ms", "1.2 s", "850 ms to 1.2 s"),
        ("<0.1%", "2.0%", "<0.1 to 2.0%"), ("1.0 s", "-", "from 1.0 s"), ("-", "-", ""), ("no data", "no data", ""),
    ],
)  # fmt: skip
def test_interval_names_its_unit_once(low: str, high: str, text: str) -> None:
    assert format_interval(low, high) == text


def test_control_characters_are_replaced() -> None:
    assert printable("a\x1b\x9b\u202e\ud83d\n\tb") == "a\ufffd\ufffd\ufffd\ufffd\n\tb"
