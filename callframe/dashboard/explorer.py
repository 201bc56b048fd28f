"""The dashboard: controls, findings, key figures and views, wired together."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import threading
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from callframe.completeness import Coverage
from callframe.dashboard import export
from callframe.dashboard.picture import Picture
from callframe.dashboard.selection import TABS, Selection
from callframe.dashboard.selection_analysis import CallAnalysis, RollupAnalysis
from callframe.dashboard.sources import ProjectSource
from callframe.dashboard.toolbar import Clickable, Toolbar, close
from callframe.dashboard.views import Drawer, View, paragraph
from callframe.errors import CallframeError
from callframe.formatting import format_time
from callframe.reporting.rendering import Renderer, render_part
from callframe.timespan import iso, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from matplotlib.figure import Figure

    from callframe.dashboard.sources import Source

PAUSE_S = 0.03
"""How long a redraw waits for the next change."""

CSS_DPI = 100
"""Pixels of CSS per inch of a plot: the larger, the larger its letters."""

MAX_UNDO, SHOWN_FINDINGS = 200, 3
MAX_EXPORT = 1_000_000
"""Calls that are exported without a question."""

_INCOMPLETE = (
    "Incomplete: not everything that was requested could be read, so every number and plot describes only the calls"
    " that were. The view Data quality shows what is missing, and why."
)
_NOTHING = "No calls are selected: remove a filter, or choose a longer range."
_EMPTY = "There are no calls to show."

_FIGURES = {
    "Calls": "Calls",
    "Failure rate": "Failures",
    "Duration, median": "Durations",
    "Duration, p95": "Durations",
    "Schedule delay, p95": "Delays",
    "Missed runs": "Schedules",
    "Coverage": "Data quality",
}
"""The view that explains each key figure."""

_FINDINGS: dict[str, dict[str, Any]] = {
    "incomplete": {"tab": "Data quality"},
    "incident": {"tab": "Failures"},
    "deploy": {"tab": "Changes"},
    "change": {"tab": "Changes"},
    "missed": {"tab": "Schedules"},
    "new failure": {"tab": "Failures"},
    "run limit": {"tab": "Durations", "plot": "Unfinished work"},
    "quota": {"tab": "Concurrency", "plot": "By function"},
    "stuck": {"tab": "Calls", "statuses": ["Running"]},
}
"""What a finding selects, by its kind, beside its function and its time."""


class Explorer(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """A dashboard of calls, for a notebook to show; `callframe.explore` makes it."""

    def __init__(self, source: Source, selection: Selection) -> None:
        self._source = source
        self._selection, self._history = selection, list[Selection]()
        self._changing = threading.Lock()
        self._renderer = Renderer(css_dpi=CSS_DPI)
        self._redraw = Redraw(self._draw)
        self._analyzing = threading.Lock()
        self._analysis: CallAnalysis | RollupAnalysis | None = None
        self._everything: CallAnalysis | RollupAnalysis | None = None  # what a person often goes back to
        self._drawn: object = None
        self._display: Any = None
        self._stop: threading.Event | None = None
        self._stopped = False
        self.refreshing: threading.Thread | None = None
        self._toolbar = Toolbar(self._act, self._change)
        self._message = Clickable("message", self._act, role="status")
        self._findings = Clickable("findings", self._act)
        self._key_figures = Clickable("figures", self._act)
        self._code = Clickable("code")
        self._tabs = Clickable("tabs", self._act)
        self._picture = Picture(self._on_range, self._on_filter, self._redraw_all, self._undo)
        self._view = View(self._renderer, self._act, self._picture)
        project = source.project if isinstance(source, ProjectSource) else None
        self._drawer = Drawer(self._act, project)
        heads = widgets.Box([self._tabs, self._view.choice])
        heads.add_class("callframe-heads")
        super().__init__(
            [
                self._toolbar.widget, self._message, self._code, self._findings, self._key_figures, heads,
                self._view.widget, self._drawer.widget,
            ]
        )  # fmt: skip
        self.add_class("callframe-explore")
        self._redraw.request()
        self._redraw.now()

    @property
    def selection(self) -> Selection:
        """What is selected and shown: a small value to keep, and to pass to `callframe.explore`."""
        return self._selection

    @selection.setter
    def selection(self, selection: Any) -> None:
        self._select(Selection.of(selection))

    @property
    def calls(self) -> pd.DataFrame:
        """The calls that are selected."""
        analysis = self._analyze()
        return (
            self._source.select(analysis.selection) if isinstance(analysis, RollupAnalysis) else analysis.calls.copy()
        )

    @property
    def figure(self) -> Figure:
        """The figure of the plot that is shown, or was last; the next plot is drawn into the same one."""
        self._redraw.now()
        return self._renderer.figure

    def close(self) -> None:
        """Remove the dashboard from the page and free its calls: ipywidgets keeps all widgets that are not closed."""
        if self._stop is not None:
            self._stop.set()
        close([self, self._picture, *vars(self._toolbar).values(), *vars(self._view).values(), self._drawer.widget])

    def _ipython_display_(self, **_: Any) -> None:
        """Show the widget, and its last plot where widgets are not shown: a style sheet of the widget hides it."""
        from IPython.display import HTML, display  # noqa: PLC0415 - only in notebooks

        bundle = {**self._repr_mimebundle_(), "text/plain": "A dashboard of calls."}
        bundle.pop("image/png", None)
        display(bundle, raw=True)  # type: ignore[no-untyped-call]
        self._display = display(HTML(self._still()), display_id=True)  # type: ignore[no-untyped-call]

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """Show the widget, or its plot where widgets cannot be shown."""
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options) or {}
        self._redraw.now()
        return {**bundle, "image/png": self._renderer.png} if self._renderer.png else bundle

    def _still(self) -> str:
        return f'<div class="callframe-still">{render_part("plot", self._view.image)}</div>' if self._view.image else ""

    def _select(self, selection: Selection) -> None:
        """Select something else, which can be undone."""
        with self._changing:
            if selection == self._selection:
                return
            self._history = [*self._history[1 - MAX_UNDO :], self._selection]
            self._selection = selection
        self._redraw.request()

    def _change(self, **fields: Any) -> None:
        """Change fields of the selection; errors are raised."""
        self._select(self._selection.replace(**fields))

    def _undo(self) -> None:
        """Close the open call, else go back to the selection before."""
        with self._changing:
            if not self._history:
                return
            self._selection = self._history.pop()
        self._redraw.request()

    def _on_range(self, start_ms: float, end_ms: float) -> None:
        start, end = (iso(max(0, round(edge))) for edge in (start_ms, end_ms))
        self._attempt(lambda: self._change(last=None, start=start, end=end))

    def _on_filter(self, chosen: dict[str, Any], *, add: bool) -> None:
        self._attempt(lambda: self._select(self._selection.toggle(chosen, add=add)))

    def _act(self, action: dict[str, Any], *, add: bool = False) -> None:
        """Do what was pressed: a selection to set, a filter to toggle or remove, a call to open, or a command."""
        commands: dict[str, Callable[[], object]] = {
            "back": self._undo,
            "reset": lambda: self._select(Selection(tab=self._selection.tab, tz=self._selection.tz)),
            "close": lambda: self._change(call=None),
            "refresh": self._refresh_or_stop,
            "csv": lambda: self._export("csv", confirmed=action.get("confirmed", False)),
            "parquet": lambda: self._export("parquet", confirmed=action.get("confirmed", False)),
            "missed": self._export_missed,
            "code": self._show_code,
        }
        makers: dict[str, Callable[[Any], Selection]] = {
            "set": lambda fields: self._selection.replace(**fields),
            "toggle": lambda chosen: self._selection.toggle(chosen, add=add or action.get("add", False)),
            "without": lambda filter_: self._selection.without(*filter_),
            "open": self._opened,
        }
        if (command := action.get("do")) in commands:
            self._attempt(commands[command])
        for name in makers.keys() & action.keys():
            self._attempt(functools.partial(self._make, makers[name], action[name]))

    def _make(self, make: Callable[[Any], Selection], value: Any) -> None:
        self._select(make(value))

    def _opened(self, call: Any) -> Selection:
        """Open a call, whose numbers come as text from the browser, or the id alone from a table."""
        function_id, call_id = call if isinstance(call, list | tuple) else (None, call)
        analysis = self._analyze()
        if function_id is None and isinstance(analysis, CallAnalysis):
            calls = analysis.all_calls
            function_id = next(iter(calls.loc[calls["call_id"] == int(call_id), "function_id"]), 0)
        return self._selection.replace(call=(int(function_id), int(call_id)))

    def _reload(self) -> None:
        """Take over what the source has read."""
        with self._analyzing:
            self._analysis = self._everything = None
        self._redraw_all()

    def _redraw_all(self) -> None:
        self._drawn = None
        self._redraw.request()

    def _analyze(self) -> CallAnalysis | RollupAnalysis:
        """Analyze the selection; what was computed is kept while the same calls are selected."""
        with self._analyzing:
            selection, analysis = self._selection, self._analysis
            known = [one for one in (analysis, self._everything) if one and one.selection.filters == selection.filters]
            analysis = known[0] if known else self._source.analyze(selection)
            if analysis.selection != selection:
                analysis = analysis.with_view(selection)
            self._analysis = analysis
            if selection.filters == Selection().filters:
                self._everything = analysis
            return analysis

    def _draw(self) -> None:
        self._attempt(self._draw_all)

    def _draw_all(self) -> None:
        """Show the selection: the plot and the key figures first, then what is below the plot."""
        analysis = self._analyze()
        selection = analysis.selection
        outdated = self._drawn != (drawing := (analysis, selection.replace(call=None)))
        if outdated:
            self._view.draw(analysis)
            self._tabs.html = render_part("tabs", TABS, selection.tab)
        actions = {name: {"set": {"tab": tab, "plot": ""}} for name, tab in _FIGURES.items()}
        self._key_figures.html = render_part("figure_buttons", analysis.key_figures, actions)
        self._toolbar.show(selection, analysis.counts)
        self._toolbar.show_chips(selection.chips(_names(analysis)), _count(analysis), can_undo=bool(self._history))
        self._show_freshness()
        self._message.html = self._state(analysis)
        self._drawer.show(analysis)
        if outdated:
            self._findings.html = self._finding_buttons(analysis)
            self._view.show_details(analysis)
            self._drawn = drawing
        self._code.html = ""
        if self._display is not None:
            from IPython.display import HTML  # noqa: PLC0415 - only in notebooks

            self._display.update(HTML(self._still()))  # type: ignore[no-untyped-call]

    def _finding_buttons(self, analysis: CallAnalysis | RollupAnalysis) -> str:
        if isinstance(analysis, RollupAnalysis):
            return ""
        rows = [(row["sentence"], {"set": _of_finding(row)}) for row in analysis.findings]
        return render_part("finding_buttons", rows, SHOWN_FINDINGS)

    def _show_freshness(self) -> None:
        known = Coverage.of(self._source.calls)
        fetched_ms = known.fetched_ms if known else None
        text = (
            ""
            if fetched_ms is None
            else f"{format_time(timestamp(fetched_ms), self._toolbar.zone)[11:]} {self._toolbar.zone}"
        )
        button = "Refresh" if self._stop is None else "Stop"
        self._toolbar.freshness.html = render_part(
            "freshness", text, fetched_ms, button if self._source.refreshable else ""
        )

    def _state(self, analysis: CallAnalysis | RollupAnalysis) -> str:
        """Render what a person should know before reading on."""
        if self._source.problem:
            return paragraph(self._source.problem, class_="bad", role="alert")
        if not analysis.count:
            return paragraph(_EMPTY if self._source.empty else _NOTHING)
        return paragraph(_INCOMPLETE, class_="bad") if analysis.complete is False else ""

    def _attempt(self, act: Callable[[], object]) -> bool:
        """Run a function and show its error, since a notebook shows no error of a callback; whether it succeeded."""
        try:
            act()
        except CallframeError as error:
            self._show_error(str(error))
        except Exception as error:  # noqa: BLE001 - the dashboard stays usable, whatever happens in a callback
            self._show_error(f"Something went wrong, which is a bug in callframe: {type(error).__name__}: {error}")
        else:
            return True
        return False

    def _show_error(self, text: str) -> None:
        self._message.html = paragraph(text, class_="bad", role="alert")

    def _export_missed(self) -> None:
        """Write the runs that were missed to a CSV file."""
        self._redraw.now()
        analysis = self._analyze()
        if isinstance(analysis, CallAnalysis) and analysis.missed is not None:
            path = export.export_missed(analysis.missed)
            self._message.html = f"<p>{export.link(path, len(analysis.missed), 'scheduled times')}</p>"

    def _export(self, kind: str, *, confirmed: bool) -> None:
        """Write the selected calls to a file; of very many a person is asked first."""
        self._redraw.now()  # a later one would remove the message
        count = self._analyze().count
        if count > MAX_EXPORT and not confirmed:
            self._message.html = render_part("question", f"Write {count:,} calls to a file?", kind)
            return
        self._message.html = paragraph(f"Writing {count:,} calls ...")
        calls = self.calls
        path = export.export(calls, f".{kind}")
        self._message.html = f"<p>{export.link(path, len(calls))}</p>"

    def _show_code(self) -> None:
        self._redraw.now()
        code = export.code(self._source, self._analyze())
        self._code.html = render_part("code", code, code.count("\n") + 1)

    def _refresh_or_stop(self) -> None:
        """Fetch in a thread, so that the same button can stop it."""
        if self._stop is not None:
            self._stopped = True
            self._stop.set()
            self._message.html = paragraph("Stopping ...")
            return
        self._stop, self._stopped = threading.Event(), False
        self._show_freshness()
        self._show_progress(0.0, "")
        self.refreshing = threading.Thread(target=self._fetch, args=(self._stop,), daemon=True)
        self.refreshing.start()

    def _show_progress(self, fraction: float, text: str) -> None:
        self._message.html = render_part("progress", round(100 * fraction), text)

    def _fetch(self, stop: threading.Event) -> None:
        try:
            done = self._attempt(lambda: self._source.refresh(stop, self._show_progress))
            if self._stopped:
                self._source.problem = ""
            if done:
                self._attempt(self._reload)
        finally:
            self._stop = None
            self._show_freshness()
            if self._stopped:
                self._redraw.now()
                self._message.html = paragraph("Stopped. The calls are those that were read before.")


@contextlib.contextmanager
def loading() -> Iterator[Callable[[float, str], None] | None]:
    """Show in a notebook how far a fetch is, in the place of the dashboard, and nothing afterwards."""
    if "ipykernel" not in sys.modules:
        yield None
        return
    from IPython.display import HTML, display  # noqa: PLC0415 - only in notebooks

    place = display(HTML(""), display_id=True)  # type: ignore[no-untyped-call]
    shown = -1

    def show(fraction: float, text: str) -> None:
        nonlocal shown
        if place is not None and shown != (percent := round(100 * fraction)):
            shown = percent
            place.update(HTML(render_part("progress", percent, text)))  # type: ignore[no-untyped-call]

    try:
        yield show
    finally:
        if place is not None:
            place.update(HTML(""))  # type: ignore[no-untyped-call]


def _of_finding(row: dict[Any, Any]) -> dict[str, Any]:
    """Convert a finding to the fields of the selection that shows it."""
    fields: dict[str, Any] = {"plot": "", **_FINDINGS.get(row["kind"], {"tab": "Overview"})}
    if not pd.isna(function := row.get("function")):
        fields["functions"] = [function]
    if not pd.isna(start := row.get("start_time")):
        fields |= {"last": None, "start": start.isoformat(), "end": row["end_time"].isoformat()}
    return fields


def _names(analysis: CallAnalysis | RollupAnalysis) -> dict[str, dict[Any, str]]:
    """Collect the texts of what is chosen."""
    chosen = [field for field in analysis.counts if getattr(analysis.selection, field)]
    return {field: {option.value: option.text for option in analysis.counts[field]} for field in chosen}


def _count(analysis: CallAnalysis | RollupAnalysis) -> str:
    return f"{analysis.count:,} call{'' if analysis.count == 1 else 's'}"


class Redraw:
    """
    Draws after changes, several of them at once.

    A notebook may run callbacks in threads. Wherever a change comes from, one thread draws at a time, and goes on until
    the latest change is drawn.
    """

    def __init__(self, draw: Callable[[], None], *, pause_s: float = PAUSE_S) -> None:
        self._draw = draw
        self._pause_s = pause_s
        self._drawing = threading.Lock()
        self._drawing_thread: int | None = None
        self._counting = threading.Lock()
        self._requested = self._drawn = 0
        self._waiting: set[asyncio.AbstractEventLoop] = set()

    def request(self) -> None:
        """Redraw after a short pause if the thread has an event loop that can wait, else now."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        with self._counting:
            self._requested += 1
            if loop in self._waiting:  # each loop waits by itself, since another one may be busy for long
                return
            if loop is not None:
                self._waiting.add(loop)
        if loop is None:
            self.now()
        else:
            loop.call_later(self._pause_s, self._after_pause, loop)

    def _after_pause(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._counting:
            self._waiting.discard(loop)
        self.now()

    def now(self) -> None:
        """Redraw now, if anything has changed since the last time."""
        if self._drawing_thread == threading.get_ident():  # requested while drawing: the loop below continues
            return
        with self._drawing:
            self._drawing_thread = threading.get_ident()
            try:
                while self._drawn < self._requested:
                    requested = self._requested
                    self._draw()
                    self._drawn = requested
            finally:
                self._drawing_thread = None
