"""The dashboard: filters, key figures and tabs, wired together."""

from __future__ import annotations

import asyncio
import html
import threading
from importlib import resources
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from callframe.dashboard import export
from callframe.dashboard.controls import Controls, close
from callframe.dashboard.selection import TABS, Selection
from callframe.dashboard.selection_analysis import CallAnalysis, RollupAnalysis
from callframe.dashboard.sources import ProjectSource
from callframe.dashboard.tabs import CallsTab, FailuresTab, Tab, paragraph
from callframe.errors import CallframeError
from callframe.reporting.rendering import Renderer, render_part

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from matplotlib.figure import Figure

    from callframe.dashboard.sources import Source

WIDTH, CSS_DPI = 9.0, 128
"""Width of the plots in inches, and CSS pixels per inch."""

PAUSE_S = 0.03
"""How long a redraw waits for the next change."""

_INCOMPLETE = (
    "Incomplete: not everything that was requested could be read, so every number and plot describes only the calls"
    " that were. The tab Data quality shows what is missing, and why."
)
_NOTHING = "No calls are selected. Choose more functions, statuses or schedules, or a longer range; Reset selects all."
_EMPTY = "There are no calls to show."

_KEYS = (
    "this.closest('.callframe-explore')?.addEventListener('focusin', event =>"
    " event.target.matches('select') && event.target.setAttribute('data-lm-suppress-shortcuts', 'true'))"
)
"""Keeps JupyterLab from taking keys pressed in a list for commands: "m" would turn the cell into text."""


class Explorer(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """A dashboard of calls, for a notebook to show; `callframe.explore` makes it."""

    def __init__(self, source: Source, selection: Selection) -> None:
        self._source = source
        self._renderer = Renderer(WIDTH, CSS_DPI)
        self._redraw = Redraw(self._draw)
        self._analyzing = threading.Lock()
        self._analysis: CallAnalysis | RollupAnalysis | None = None
        self._drawn: dict[str, object] = {}
        self._last_drawn = ""
        self._stop: threading.Event | None = None
        self.refreshing: threading.Thread | None = None
        self._controls = Controls(self._redraw.request)
        self._message = _html("callframe-message")
        self._key_figures = _html("callframe-figures")
        self._code = _html("callframe-code")
        self._tabs = {name: self._make_tab(name) for name in TABS}
        self._tab_bar = widgets.Tab([tab.widget for tab in self._tabs.values()], titles=TABS)
        self._tab_bar.observe(lambda _: self._redraw.request(), names="selected_index")
        css = resources.files("callframe.dashboard").joinpath("dashboard.css").read_text(encoding="utf-8")
        style = widgets.HTML(f'<style onload="{html.escape(_KEYS)}">{css}</style>', layout={"display": "none"})
        buttons = self._make_buttons()
        super().__init__(
            [style, self._controls.widget, buttons, self._message, self._code, self._key_figures, self._tab_bar]
        )
        self.add_class("callframe-explore")
        self._load()
        self.selection = selection
        self._redraw.now()

    @property
    def selection(self) -> Selection:
        """What is selected and shown: a small value to keep, and to pass to `callframe.explore`."""
        tab = self._open_tab
        return self._controls.selection.replace(tab=tab.name, plot=tab.plot)

    @selection.setter
    def selection(self, selection: Any) -> None:
        chosen = Selection.of(selection)
        self._controls.selection = chosen
        self._tabs[chosen.tab].choose(chosen.plot)
        self._tab_bar.selected_index = TABS.index(chosen.tab)
        self._redraw.request()

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
        self._draw_open_tab()
        return self._renderer.figure

    @property
    def _open_tab(self) -> Tab:
        return self._tabs[TABS[self._tab_bar.selected_index or 0]]

    def _draw_open_tab(self) -> None:
        """Make sure that the figure holds the plot of the open tab, which may have been drawn before another one."""
        self._redraw.now()
        if self._last_drawn != (name := self._open_tab.name):
            self._drawn.pop(name, None)
            self._redraw.request()
            self._redraw.now()

    def close(self) -> None:
        """Remove the dashboard from the page and free its calls: ipywidgets keeps all widgets that are not closed."""
        if self._stop is not None:
            self._stop.set()
        parts = [*vars(self._controls).values(), *(part for tab in self._tabs.values() for part in vars(tab).values())]
        close([self, self._refresh_button, *parts])

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """Show the widget, or its plot where widgets cannot be shown."""
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options) or {}
        self._draw_open_tab()
        return {**bundle, "image/png": self._renderer.png} if self._renderer.png else bundle

    def _make_tab(self, name: str) -> Tab:
        arguments = (name, self._renderer, self._redraw.request, self._attempt)
        if name == "Failures":
            read_log = self._source.project.logs if isinstance(self._source, ProjectSource) else None
            return FailuresTab(*arguments, read_log=read_log)
        return CallsTab(*arguments) if name == "Calls" else Tab(*arguments)

    def _make_buttons(self) -> widgets.Widget:
        self._refresh_button = widgets.Button(description="Refresh", icon="refresh", tooltip="Fetch the calls again")
        self._refresh_button.on_click(lambda _: self._attempt(self._refresh_or_stop))
        actions = {
            "Export CSV": ("download", lambda: self._export(".csv")),
            "Export Parquet": ("download", lambda: self._export(".parquet")),
            "Copy code": ("code", self._show_code),
            "Reset": ("undo", self._reset),
        }
        buttons = [self._refresh_button] if self._source.refreshable else []
        for name, (icon, act) in actions.items():
            button = widgets.Button(description=name, icon=icon)
            button.on_click(lambda _, act=act: self._attempt(act))
            buttons.append(button)
        return widgets.Box(buttons, layout={"flex_flow": "row wrap"})

    def _load(self) -> None:
        """Take over what the source has read."""
        with self._analyzing:
            self._controls.set_options(self._source.filter_options())
            self._analysis = None
            self._drawn = {}

    def _analyze(self) -> CallAnalysis | RollupAnalysis:
        """Analyze the selection; what was computed is kept while the same calls are selected."""
        with self._analyzing:
            selection, analysis = self.selection, self._analysis
            if analysis is None or analysis.selection.filters != selection.filters:
                analysis = self._source.analyze(selection)
            elif analysis.selection != selection:
                analysis = analysis.with_view(selection)
            self._analysis = analysis
            return analysis

    def _draw(self) -> None:
        self._attempt(self._draw_all)

    def _draw_all(self) -> None:
        """Show the selection: the plot first, then the key figures, then what is below the plot."""
        drawn = self._drawn  # a refresh replaces it meanwhile
        analysis = self._analyze()
        selection = analysis.selection
        tab = self._tabs[selection.tab]
        outdated = drawn.get(tab.name) != selection
        if outdated:
            tab.draw(analysis)
        if drawn.get("") != (selection.filters, selection.tz):
            self._key_figures.value = render_part("key_figures", analysis.key_figures)
            drawn[""] = (selection.filters, selection.tz)
        self._message.value = self._state(analysis)
        if outdated:
            tab.show_rollup(analysis) if isinstance(analysis, RollupAnalysis) else tab.show_details(analysis)
            drawn[tab.name] = selection
            self._last_drawn = tab.name
        self._code.value = ""

    def _state(self, analysis: CallAnalysis | RollupAnalysis) -> str:
        """Render what a person should know before reading on."""
        if self._source.problem:
            return paragraph(self._source.problem, class_="bad", role="alert")
        if not analysis.count:
            return paragraph(_EMPTY if self._source.empty else _NOTHING, role="status")
        return paragraph(_INCOMPLETE, class_="bad", role="status") if analysis.complete is False else ""

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
        self._message.value = paragraph(text, class_="bad", role="alert")

    def _export(self, suffix: str) -> None:
        self._redraw.now()  # a later one would remove the message
        calls = self.calls
        path = export.export(calls, suffix)
        self._message.value = f'<p role="status">{export.link(path, len(calls))}</p>'

    def _show_code(self) -> None:
        self._redraw.now()
        code = export.code(self._source, self._analyze())
        self._code.value = render_part("code", code, code.count("\n") + 1)

    def _reset(self) -> None:
        self.selection = Selection(tab=self._open_tab.name, tz=self._controls.zone)

    def _refresh_or_stop(self) -> None:
        """Fetch in a thread, so that the same button can stop it."""
        if self._stop is not None:
            self._stop.set()
            self._refresh_button.description = "Stopping ..."
            return
        self._stop = threading.Event()
        self._refresh_button.description, self._refresh_button.icon = "Stop", "stop"
        self._message.value = paragraph("Fetching the calls ...", role="status")
        self.refreshing = threading.Thread(target=self._fetch, args=(self._stop,), daemon=True)
        self.refreshing.start()

    def _fetch(self, stop: threading.Event) -> None:
        try:
            if self._attempt(lambda: self._source.refresh(stop)) and self._attempt(self._load):
                self._redraw.request()
        finally:
            self._stop = None
            self._refresh_button.description, self._refresh_button.icon = "Refresh", "refresh"


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


def _html(css_class: str) -> widgets.HTML:
    widget = widgets.HTML()
    widget.add_class(css_class)
    return widget
