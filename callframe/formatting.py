"""How a summary looks to people: in a notebook, in colours, and as text for a terminal."""

from __future__ import annotations

import functools
import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from callframe.completeness import Coverage, is_complete
from callframe.errors import FrameError
from callframe.timespan import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_NEEDED = (
    "calls", "completed", "failed", "timeout", "running", "stuck", "other", "failure_rate", "failure_rate_low",
    "failure_rate_high", "duration_p50", "duration_p50_above", "duration_p95", "duration_p95_low", "duration_p95_high",
    "duration_p95_above", "duration_p99", "duration_p99_above", "duration_max", "schedule_delay_p50",
    "schedule_delay_p95", "schedule_delay_max", "late_rate", "last_success_time", "longest_failure_streak",
)  # fmt: skip

_DISPENSABLE = ("delay p50", "delay p95", "late", "running", "timeout", "failed")
"""Columns that a narrow terminal does without, first those."""

_LABEL = 60
_FAILED, _TIMEOUT, _LATE = "213,94,0", "240,228,66", "86,180,233"  # of a palette safe for colour-blind eyes


@dataclass(frozen=True)
class _Column:
    """One column as it is shown: its heading, what each cell says, what it says small, and its colour."""

    heading: str
    cells: list[str]
    asides: list[str] | None = None
    tints: list[str] | None = None


class Styled:
    """
    A summary in colours, for a notebook to show.

    Parameters
    ----------
    summary
        What `summarize` gave.
    """

    def __init__(self, summary: pd.DataFrame) -> None:
        self._summary = summary.copy()

    def _repr_html_(self) -> str:
        """Write as HTML, in which all text is escaped."""
        return _html(self._summary, coloured=True)

    def __repr__(self) -> str:
        return format_summary(self._summary)


def style(summary: pd.DataFrame) -> Styled:
    """
    Show a summary in colours: the more there is of failures and late starts, the stronger.

    Failure rates are coloured by the lower end of their interval, so that few calls are no alarm. Every colour comes
    with the number it stands for.

    Parameters
    ----------
    summary
        What `summarize` gave, or some of its rows.

    Returns
    -------
    styled
        An object that a notebook shows as a table. Names of functions and other text are escaped in it.

    Raises
    ------
    FrameError
        It is no summary.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     styled = cf.style(cf.summarize(project.calls(start="14d")))
    """
    missing = [name for name in _NEEDED if name not in getattr(summary, "columns", ())]
    if missing:
        raise FrameError(f"This is no summary: it lacks {', '.join(missing)}. Make one with summarize(calls).")
    return Styled(summary)


def attach_html(summary: pd.DataFrame) -> pd.DataFrame:
    """
    Let a notebook show a summary in units.

    What shows it is an attribute of this one object: frames made from it, copies and pickles are plain again.

    Parameters
    ----------
    summary
        A new one; it is changed.

    Returns
    -------
    summary
        The same object.
    """
    show = functools.partial(_live, summary, list(summary.columns))
    object.__setattr__(summary, "_repr_html_", show)  # past pandas, which takes attributes for columns
    return summary


def format_summary(summary: pd.DataFrame, *, width: int | None = None) -> str:
    """
    Write a summary as text for a terminal.

    Parameters
    ----------
    summary
        What `summarize` gave.
    width
        Characters a line may have, if columns can be left out for that; None for all columns.

    Returns
    -------
    text
        One line a group under a header, and a line that names the columns for which there is no room.
    """
    left = {"completed", "duration p99", "duration max", "delay max", "last success [UTC]", "failures in a row"}
    laid = [_laid(_labels(summary, place), str.ljust) for place in range(summary.index.nlevels)]
    for column in _columns(summary):
        if column.heading in left:
            continue
        asides = column.asides if column.heading == "failure rate" else None
        words = column.cells
        if asides:
            words = [f"{cell} {aside}".strip() for cell, aside in zip(words, asides, strict=True)]
        laid.append(_laid([column.heading.removeprefix("duration "), *words], str.rjust))
    lacking = []
    for name in _DISPENSABLE:
        place = next((at for at, column in enumerate(laid) if column[0].split(" (")[0].strip() == name), None)
        if place is not None and width is not None and sum(len(column[0]) + 2 for column in laid) - 2 > width:
            lacking.append(laid.pop(place)[0].strip())
    note = [f"No room here for: {', '.join(lacking)}."] if lacking else []
    return "\n".join([*("  ".join(row).rstrip() for row in zip(*laid, strict=True)), *note])


def format_duration(value: pd.Timedelta) -> str:
    """
    Write a span of time as people do.

    Parameters
    ----------
    value
        Any span, or none.

    Returns
    -------
    text
        Such as `850 ms`, `12.3 s`, `9.5 min`, `3.2 h`, or `-` for none.
    """
    if value != value:  # noqa: PLR0124 - NaT alone differs from itself
        return "-"
    seconds = value.total_seconds()
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if abs(seconds) >= size * (1 if unit in {"s", "min"} else 2):
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds * 1000:.0f} ms"


def format_percent(share: float) -> str:
    """
    Write a share as people do.

    Parameters
    ----------
    share
        From 0 to 1, or missing.

    Returns
    -------
    text
        Such as `2.3%`, `<0.1%` for less than that and not nothing, `>99.9%` for more and not all, or `no data`.
    """
    if share != share:  # noqa: PLR0124 - NaN alone differs from itself
        return "no data"
    if 0 < share < 0.001:  # noqa: PLR2004
        return "<0.1%"
    return ">99.9%" if 0.999 < share < 1 else f"{share:.1%}"  # noqa: PLR2004


def printable(words: str) -> str:
    """
    Take the control characters out of text from calls: a terminal would obey them.

    Parameters
    ----------
    words
        Any text.

    Returns
    -------
    text
        The text with its line ends and tabs, every other control character as U+FFFD.
    """
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in words)


def _live(summary: pd.DataFrame, columns: Sequence[str]) -> str | None:
    """Show a summary as it is now; one whose columns were changed in place as pandas shows any frame."""
    if not pd.get_option("display.notebook_repr_html"):
        return None
    if list(summary.columns) != columns:
        plain: str | None = getattr(pd.DataFrame, "_repr_html_")(summary)  # noqa: B009 - the stubs lack it
        return plain
    return _html(summary, coloured=False)


def _columns(summary: pd.DataFrame) -> Iterator[_Column]:
    """Lay out what is shown; what a summary has none of, such as stuck calls, is left out."""
    for name in ("calls", "completed", "failed", "timeout", "running", "stuck", "other"):
        if name not in {"stuck", "other"} or summary[name].any():
            tints = [_tint(_FAILED, 0.5 * bool(count)) for count in summary[name]] if name == "stuck" else None
            yield _Column(name, [f"{count:,}" for count in summary[name]], tints=tints)
    low, high = summary["failure_rate_low"], summary["failure_rate_high"]
    rate_asides = [_range(format_percent(one), format_percent(other)) for one, other in zip(low, high, strict=True)]
    yield _Column(
        "failure rate", [*map(format_percent, summary["failure_rate"])], rate_asides, [_strength(one) for one in low]
    )
    for name in ("p50", "p95", "p99"):
        yield _duration(summary, name)
    yield _Column("duration max", [*map(format_duration, summary["duration_max"])])
    for name in ("p50", "p95", "max"):
        yield _Column(f"delay {name}", [*map(format_duration, summary[f"schedule_delay_{name}"])])
    grace = summary.attrs.get("late_after_s")
    heading = f"late (> {format_duration(pd.Timedelta(seconds=grace))})" if isinstance(grace, int | float) else "late"
    late = summary["late_rate"]
    yield _Column(
        heading,
        ["-" if share != share else format_percent(share) for share in late],  # noqa: PLR0124 - NaN alone differs from itself
        tints=[_tint(_LATE, 0.5 * share**0.5) for share in late],
    )
    yield _Column("last success [UTC]", [*map(_moment, summary["last_success_time"])])
    yield _Column("failures in a row", [f"{count:,}" for count in summary["longest_failure_streak"]])


def _duration(summary: pd.DataFrame, name: str) -> _Column:
    values, above = summary[f"duration_{name}"], summary[f"duration_{name}_above"]
    known = above.isna().tolist()
    cells = [
        format_duration(one) if told else f"> {format_duration(more)}"
        for one, told, more in zip(values, known, above, strict=True)
    ]
    asides = None
    if name == "p95":
        limits = zip(summary["duration_p95_low"], summary["duration_p95_high"], strict=True)
        asides = [_range(format_duration(low), format_duration(high)) for low, high in limits]
    return _Column(f"duration {name}", cells, asides, [_tint(_TIMEOUT, 0.0 if told else 0.3) for told in known])


def _range(low: str, high: str) -> str:
    """Write an interval: `-` is an end that is not known, and with neither there is none."""
    if {low, high} <= {"-", "no data"}:
        return ""
    if high == "-":
        return f"(from {low})"
    unit = high.lstrip("<>-0123456789.,")
    return f"({low.removesuffix(unit)} to {high})" if low.endswith(unit) else f"({low} to {high})"


def _moment(value: pd.Timestamp) -> str:
    return "none" if value != value else f"{value:%Y-%m-%d %H:%M}"  # noqa: PLR0124 - NaT alone differs from itself


def _strength(share: float) -> str:
    return _tint(_FAILED, 0.6 * share**0.5)


def _tint(colour: str, strength: float) -> str:
    """Write a background that lets the text, and a dark theme, through."""
    return f"background-color:rgba({colour},{strength:.2f})" if strength >= 0.01 else ""  # noqa: PLR2004


def _labels(summary: pd.DataFrame, level: int) -> list[str]:
    """Write a level of the groups under its name, ids in full."""
    labels = summary.index.get_level_values(level)
    missing = "no schedule" if labels.name == "schedule" else "none"
    words = [missing if gone else _label(one) for one, gone in zip(labels, labels.isna(), strict=True)]
    return [printable(str(labels.name)), *(" ".join(printable(one).split("\n")) for one in words)]


def _label(value: Any) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}".removesuffix(":00") if isinstance(value, pd.Timestamp) else str(value)


def _laid(words: list[str], adjust: Callable[[str, int], str]) -> list[str]:
    width = max(map(len, words))
    return [adjust(one, width) for one in words]


def _html(summary: pd.DataFrame, *, coloured: bool) -> str:
    """Write a summary as HTML; as many rows as pandas is set to show. Styles stand inline: notebooks drop others."""
    most = pd.get_option("display.max_rows") or len(summary)
    shown = summary.iloc[:most]
    columns = list(_columns(shown))
    labels = [_labels(shown, level) for level in range(shown.index.nlevels)]
    heads = "".join(f'<th style="text-align:left">{_escaped(one[0])}</th>' for one in labels)
    heads += "".join(_heading(column.heading) for column in columns)
    rows = []
    for place in range(len(shown)):
        row = "".join(_header(one[place + 1]) for one in labels)
        rows.append(f"<tr>{row}{''.join(_cell(column, place, coloured=coloured) for column in columns)}</tr>")
    body = f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody>"
    foot = f'<p style="font-size:smaller;opacity:0.75">{_escaped(_foot(summary, len(shown)))}</p>'
    return f'<div style="overflow-x:auto"><table border="0" class="dataframe">{body}</table>{foot}</div>'


def _heading(heading: str) -> str:
    """Write a heading, which may break where words end, but not within brackets."""
    name, bracket, unit = heading.partition(" (")
    whole = f' <span style="white-space:nowrap">{_escaped(bracket.lstrip() + unit)}</span>' if bracket else ""
    return f'<th style="text-align:right">{_escaped(name)}{whole}</th>'


def _header(label: str) -> str:
    short = label if len(label) <= _LABEL else f"{label[: _LABEL // 2 - 1]}…{label[-_LABEL // 2 :]}"
    title = "" if short == label else f' title="{_escaped(label)}"'
    return f'<th style="text-align:left;white-space:nowrap"{title}>{_escaped(short)}</th>'


def _cell(column: _Column, place: int, *, coloured: bool) -> str:
    tint = f";{column.tints[place]}" if coloured and column.tints and column.tints[place] else ""
    aside = column.asides[place] if column.asides else ""
    small = f' <span style="font-size:smaller;opacity:0.85">{_escaped(aside)}</span>' if aside else ""
    return f'<td style="text-align:right;white-space:nowrap{tint}">{_escaped(column.cells[place])}{small}</td>'


def _foot(summary: pd.DataFrame, shown: int) -> str:
    """Say what a summary rests on."""
    known = Coverage.of(summary)
    complete = {True: "complete", False: "INCOMPLETE", None: "completeness not known"}[is_complete(summary)]
    when = f", fetched {timestamp(known.fetched_ms):%Y-%m-%d %H:%M} UTC" if known else ""
    more = f"; {len(summary) - shown:,} more rows are not shown" if shown < len(summary) else ""
    calls = int(summary["calls"].sum())
    return f"{calls:,} call{'' if calls == 1 else 's'}{when}, {complete}; intervals are 95 %{more}"


def _escaped(words: str) -> str:
    return html.escape(printable(words))
