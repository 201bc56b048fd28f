"""A summary is shown in units, with all text escaped, and as nothing but a frame to everything else."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from factories import MINUTE_MS, NOW_MS, SECOND_MS, call_frame, call_frames, few_examples, make_call
from hypothesis import given, settings
from hypothesis import strategies as st
from IPython.core.formatters import DisplayFormatter

import callframe as cf
from callframe import frame
from callframe.errors import FrameError
from callframe.formatting import format_duration, format_percent, format_summary, printable

if TYPE_CHECKING:
    from collections.abc import Callable

HOSTILE = "<img src=x onerror=alert(1)>\"'&\x1b[2J\u202e"


class Reader(HTMLParser):
    """Collects the tags of a page, its attributes and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def shown(thing: object) -> str:
    """Show a thing as a notebook does."""
    return str(formats(thing)["text/html"])


def formats(thing: object) -> dict[str, Any]:
    formatter: Any = DisplayFormatter()
    offered: dict[str, Any] = formatter.format(thing)[0]
    return offered


def rows(page: str) -> list[dict[str, str]]:
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]
    plain = [[re.sub(r"<[^>]*>", "", cell) for cell in row] for row in cells]
    return [dict(zip(plain[0], row, strict=True)) for row in plain[1:]]


def made(*statuses: str, name: str = "ingest", seconds: int = 12) -> pd.DataFrame:
    found = [
        make_call(
            id=place,
            status=status,
            end_time=NOW_MS + (seconds + place) * SECOND_MS,
            scheduled_time=NOW_MS - place * MINUTE_MS,
        )
        for place, status in enumerate(statuses)
    ]
    return cf.summarize(call_frame(*found, labels={7: name}))


@pytest.fixture
def summary() -> pd.DataFrame:
    return made(*["Completed"] * 8, "Failed", "Timeout")


# What is shown


def test_notebook_shows_a_summary_in_units(summary: pd.DataFrame) -> None:
    [row] = rows(shown(summary))
    assert row["function"] == "ingest"
    assert row["failure rate"] == "20.0% (5.7 to 51.0%)"
    assert (row["duration p50"], row["duration p95"]) == ("16.0 s", "&gt; 21.0 s")
    assert (row["delay max"], row["late (&gt; 1.0 min)"]) == ("9.0 min", "80.0%")
    assert row["last success [UTC]"] == "2026-09-30 12:00"


def test_thousands_are_grouped() -> None:
    [row] = rows(shown(made(*["Completed"] * 1_234)))
    assert row["calls"] == "1,234"


def test_no_data_is_not_nothing_failed() -> None:
    [row] = rows(shown(made("Running")))
    assert (row["failure rate"], row["last success [UTC]"]) == ("no data", "none")


def test_ids_are_shown_in_full() -> None:
    calls = call_frame(make_call(schedule_id=9007199254740991), make_call(id=2))
    assert {row["schedule"] for row in rows(shown(cf.summarize(calls, "schedule")))} == {
        "9007199254740991",
        "no schedule",
    }


def test_times_and_several_groups_have_columns_of_their_own() -> None:
    [row] = rows(shown(cf.summarize(call_frame(make_call()), ["function", "1h"])))
    assert (row["function"], row["start_time"]) == ("7", "2026-09-30 12:00")


@pytest.mark.parametrize("status", ["stuck", "other"])
def test_what_there_is_none_of_has_no_column(summary: pd.DataFrame, status: str) -> None:
    assert status not in rows(shown(summary))[0]


def test_p95_is_shown_with_its_interval() -> None:
    [row] = rows(shown(made(*["Completed"] * 100, seconds=100)))
    assert row["duration p95"] == "3.2 min (3.2 to 3.3 min)"


@pytest.mark.parametrize(
    ("coverage", "words"),
    [
        ({}, "1 call, completeness not known"),
        ({"fetched_at": "2026-10-01T00:00:00Z", "functions": []}, "1 call, fetched 2026-10-01 00:00 UTC, complete;"),
        (
            {
                "fetched_at": "2026-10-01T00:00:00Z",
                "functions": [{"function_id": 1, "function": "1", "complete": False}],
            },
            "UTC, INCOMPLETE;",
        ),
    ],
)
def test_foot_says_what_it_rests_on(coverage: dict[str, Any], words: str) -> None:
    calls = call_frame(make_call())
    if coverage:
        calls.attrs["callframe"] = coverage
    assert words in "".join(read(shown(cf.summarize(calls))).words)


def test_rows_beyond_what_pandas_shows_are_counted() -> None:
    calls = call_frame(*(make_call(id=place, function_id=place) for place in range(1, 9)))
    with pd.option_context("display.max_rows", 5):
        page = shown(cf.summarize(calls))
    assert (len(rows(page)), "3 more rows are not shown" in page, "8 calls" in page) == (5, True, True)


def test_long_name_is_cut_and_whole_in_its_title() -> None:
    name = "a" * 100 + "z"
    page = shown(made("Completed", name=name))
    assert f'title="{name}"' in page
    assert len(rows(page)[0]["function"]) == 60


@settings(few_examples, max_examples=10)
@given(call_frames(), st.sampled_from(["function", "schedule", "status", ["function", "1h"]]))
def test_every_summary_is_shown_and_well_formed(calls: pd.DataFrame, by: str | list[str]) -> None:
    found = cf.summarize(calls, by)
    assert len(rows(shown(found))) == len(found) == len(rows(shown(cf.style(found))))
    read(shown(cf.style(found)))


def test_empty_summary_is_a_table_without_rows() -> None:
    found = cf.summarize(frame.empty())
    assert rows(shown(found)) == rows(shown(cf.style(found))) == []


# Hostile text


@pytest.mark.parametrize("style", [lambda found: found, cf.style])
def test_hostile_name_stays_text(style: Callable[[pd.DataFrame], object]) -> None:
    reader = read(shown(style(made("Completed", name=HOSTILE))))
    assert "img" not in reader.tags
    assert reader.attributes <= {"style", "class", "border", "title"}
    assert "<img src=x onerror=alert(1)>\"'&\ufffd[2J\ufffd" in reader.words


@pytest.mark.parametrize("style", [lambda found: found, cf.style])
def test_hostile_name_of_a_level_stays_text(style: Callable[[pd.DataFrame], object], summary: pd.DataFrame) -> None:
    summary.index.name = HOSTILE
    assert "img" not in read(shown(style(summary))).tags


def test_hostile_tolerance_stays_text(summary: pd.DataFrame) -> None:
    summary.attrs["late_after_s"] = HOSTILE
    assert "img" not in read(shown(cf.style(summary))).tags


def test_half_a_character_can_be_written_out() -> None:
    summary = made("Completed")
    summary.index = pd.Index(["\ud83d"], dtype="object", name="function")
    assert shown(summary).encode()
    assert format_summary(summary).encode()


# A frame and nothing else


def test_summary_is_a_plain_frame(summary: pd.DataFrame) -> None:
    assert type(summary) is pd.DataFrame


@pytest.mark.parametrize(
    "derive",
    [
        lambda found: found.copy(),
        lambda found: found.head(1),
        lambda found: found[["calls"]],
        lambda found: found.reset_index(),
        lambda found: found.T,
        lambda found: found.assign(more=1),
        lambda found: pd.concat([found, found]),
        copy.copy,
        copy.deepcopy,
        lambda found: pickle.loads(pickle.dumps(found)),
    ],
)
def test_derived_frame_is_shown_as_any_frame(
    derive: Callable[[pd.DataFrame], pd.DataFrame], summary: pd.DataFrame
) -> None:
    derived = derive(summary)
    assert "_repr_html_" not in vars(derived)
    assert shown(derived) == getattr(pd.DataFrame, "_repr_html_")(derived)  # noqa: B009 - the stubs lack it


def test_pickle_and_copy_are_equal(summary: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(summary)), summary)
    assert summary.copy().equals(summary)


def test_csv_is_that_of_the_frame(summary: pd.DataFrame) -> None:
    assert summary.to_csv() == summary.copy().to_csv()


def test_parquet_takes_a_summary(summary: pd.DataFrame) -> None:
    file = io.BytesIO()
    summary.to_parquet(file)
    assert pd.read_parquet(file)["calls"].tolist() == [10]


def test_columns_are_no_more_than_before(summary: pd.DataFrame) -> None:
    assert "_repr_html_" not in summary.columns


def test_rows_changed_in_place_are_shown_as_they_are_now(summary: pd.DataFrame) -> None:
    summary["calls"] = 77
    assert rows(shown(summary))[0]["calls"] == "77"


def test_column_put_in_is_shown_as_pandas_does(summary: pd.DataFrame) -> None:
    summary["mine"] = "here"
    assert shown(summary) == shown(summary.copy())


def test_notebook_set_to_show_frames_as_text_does_so(summary: pd.DataFrame) -> None:
    with pd.option_context("display.notebook_repr_html", False):  # noqa: FBT003 - pandas takes it so
        assert "text/html" not in formats(summary)


def test_summary_is_shown_when_nothing_else_holds_it() -> None:
    show = vars(made("Completed"))["_repr_html_"]
    gc.collect()
    assert "ingest" in show()


# Colours


def test_style_colours_failures_by_the_lower_end_of_their_interval() -> None:
    few, many = (cf.style(made(*["Failed"] * count)) for count in (1, 100))
    strengths = [float(re.findall(r"213,94,0,([\d.]+)", shown(one))[0]) for one in (few, many)]
    assert strengths == pytest.approx([0.27, 0.59])


def test_style_colours_what_is_not_reached() -> None:
    assert "rgba(240,228,66" in shown(cf.style(made("Timeout")))


def test_nothing_failed_is_without_colour() -> None:
    assert "rgba(213" not in shown(cf.style(made("Completed")))


def test_summary_itself_is_without_colours(summary: pd.DataFrame) -> None:
    assert "rgba" not in shown(summary)


def test_style_takes_rows_of_a_summary(summary: pd.DataFrame) -> None:
    assert len(rows(shown(cf.style(summary[summary["calls"] > 0])))) == 1


def test_style_shows_what_it_was_given(summary: pd.DataFrame) -> None:
    styled = cf.style(summary)
    summary["calls"] = 77
    assert rows(shown(styled))[0]["calls"] == "10"


def test_narrow_table_fits_and_names_what_it_leaves_out(summary: pd.DataFrame) -> None:
    *lines, note = format_summary(summary, width=72).splitlines()
    assert max(map(len, lines)) <= 72
    assert {"delay p50", "late (> 1.0 min)"} <= set(re.split(": |, ", note.rstrip(".")))
    assert "failure rate" in lines[0]


def test_table_with_room_enough_leaves_nothing_out(summary: pd.DataFrame) -> None:
    assert format_summary(summary, width=200) == format_summary(summary)


def test_style_in_a_terminal_is_the_table(summary: pd.DataFrame) -> None:
    assert repr(cf.style(summary)) == format_summary(summary)


@pytest.mark.parametrize("given", [pd.DataFrame({"calls": [1]}), None, 3])
def test_style_of_something_else_is_refused(given: Any) -> None:
    with pytest.raises(FrameError, match="This is no summary: it lacks"):
        cf.style(given)


# Text


def test_table_is_a_line_a_group_under_a_header(summary: pd.DataFrame) -> None:
    header, line = format_summary(summary).splitlines()
    assert header.split()[:5] == ["function", "calls", "failed", "timeout", "running"]
    assert line.split()[:9] == ["ingest", "10", "1", "1", "0", "20.0%", "(5.7", "to", "51.0%)"]
    assert len(header) == len(line)


def test_table_keeps_each_group_on_its_line() -> None:
    assert len(format_summary(made("Completed", name="a\nb\x1b")).splitlines()) == 2


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (0, "0 ms"), (850, "850 ms"), (-20, "-20 ms"), (12_340, "12.3 s"), (90_000, "1.5 min"), (10_800_000, "3.0 h"),
        (259_200_000, "3.0 d"), (86_400_000_000, "1,000.0 d"), (-90_000, "-1.5 min"),
        (8_640_000_000_000, "100,000.0 d"), (253_402_300_799_999, "2,932,897.0 d"),
    ],
)  # fmt: skip
def test_spans_are_written_as_people_do(milliseconds: int, words: str) -> None:
    assert format_duration(pd.Series([milliseconds]).astype("timedelta64[ms]").iloc[0]) == words


def test_no_span_is_a_dash() -> None:
    assert format_duration(pd.NaT) == "-"  # type: ignore[arg-type] # what a missing value is


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0.0%"), (1, "100.0%"), (0.0234, "2.3%"), (0.0001, "<0.1%"), (0.9999, ">99.9%"), (float("nan"), "no data")],
)
def test_shares_are_never_rounded_to_nothing_or_all(share: float, words: str) -> None:
    assert format_percent(share) == words


def test_control_characters_are_taken_out() -> None:
    assert printable("a\x1b\x9b\u202e\ud83d\n\tb") == "a\ufffd\ufffd\ufffd\ufffd\n\tb"
