"""The dashboard: controls, figures and tabs, wired together."""

from __future__ import annotations

import html
import threading
from importlib import resources
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from callframe.dashboard import export, tabs
from callframe.dashboard.call_analysis import CallAnalysis
from callframe.dashboard.calls_tab import CallsTab
from callframe.dashboard.controls import Controls, close
from callframe.dashboard.failures_tab import FailuresTab
from callframe.dashboard.redraw import Redraw
from callframe.dashboard.renderer import Renderer
from callframe.dashboard.rollup_analysis import RollupAnalysis
from callframe.dashboard.selection import TABS, Selection
from callframe.errors import CallframeError
from callframe.reporting.html import render_part

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from matplotlib.figure import Figure

    from callframe.dashboard.sources import Source

INCOMPLETE = (
    "Incomplete: not everything that was asked for could be read, so every number and picture is of what arrived."
    " The tab Data quality says what is lacking, and why."
)
NOTHING = "No calls are selected. Choose more functions, statuses or schedules, or a longer range; Reset selects all."
EMPTY = "There are no calls to show."

_KEYS = (
    "this.closest('.callframe-explore')?.addEventListener('focusin', event =>"
    " event.target.matches('select') && event.target.setAttribute('data-lm-suppress-shortcuts', 'true'))"
)
"""Keeps JupyterLab from taking keys pressed in a list for commands: "m" would turn the cell into text."""


class Explorer(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """
    A dashboard on calls, for a notebook to show. Made by `callframe.explore`.

    Parameters
    ----------
    source
        Where the calls come from.
    selection
        What is looked at first.
    """

    def __init__(self, source: Source, selection: Selection) -> None:
        self._source = source
        self._screen = Renderer()
        self._redraw = Redraw(self._draw)
        self._looking = threading.Lock()
        self._look: CallAnalysis | RollupAnalysis | None = None
        self._shown: dict[str, object] = {}
        self._drawn_tab = ""
        self._stop: threading.Event | None = None
        self.refreshing: threading.Thread | None = None
        self._controls = Controls(self._redraw.ask)
        self._message = _html("callframe-message")
        self._figures = _html("callframe-figures")
        self._code = _html("callframe-code")
        self._panels = {name: self._panel(name) for name in TABS}
        self._tabs = widgets.Tab([one.widget for one in self._panels.values()], titles=TABS)
        self._tabs.observe(lambda _: self._redraw.ask(), names="selected_index")
        style = widgets.HTML(f'<style onload="{html.escape(_KEYS)}">{_style()}</style>', layout={"display": "none"})
        super().__init__(
            [style, self._controls.widget, self._actions(), self._message, self._code, self._figures, self._tabs]
        )
        self.add_class("callframe-explore")
        self._fill()
        self.selection = selection
        self._redraw.now()

    @property
    def selection(self) -> Selection:
        """What is looked at: a small value to be kept, and given back to `callframe.explore`."""
        panel = self._panels[TABS[self._tabs.selected_index or 0]]
        self._controls.look_at(panel.name, panel.picture)
        return self._controls.selection

    @selection.setter
    def selection(self, selection: Any) -> None:
        chosen = Selection.of(selection)
        self._controls.selection = chosen
        self._panels[chosen.tab].choose(chosen.picture)
        self._tabs.selected_index = TABS.index(chosen.tab)
        self._redraw.ask()

    @property
    def calls(self) -> pd.DataFrame:
        """The calls that are selected."""
        look = self._looked()
        return self._source.selected(look.selection) if isinstance(look, RollupAnalysis) else look.calls.copy()

    @property
    def figure(self) -> Figure:
        """The figure of the picture that is shown, or was last; the next picture is drawn into the same one."""
        self._draw_shown()
        return self._screen.figure

    def _draw_shown(self) -> None:
        """Let the screen hold what the open tab shows, which may have been drawn before that of another tab."""
        self._redraw.now()
        if self._drawn_tab != (tab := TABS[self._tabs.selected_index or 0]):
            self._shown.pop(tab, None)
            self._redraw.ask()
            self._redraw.now()

    def close(self) -> None:
        """Take the dashboard off the page, and let its calls go: ipywidgets keeps all widgets that are not closed."""
        if self._stop is not None:
            self._stop.set()
        parts = [
            *vars(self._controls).values(),
            *(one for panel in self._panels.values() for one in vars(panel).values()),
        ]
        close([self, self._refresh, *parts])

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """Show the widget, and its picture where there are no widgets."""
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options) or {}
        self._draw_shown()
        return {**bundle, "image/png": self._screen.png} if self._screen.png else bundle

    def _panel(self, name: str) -> tabs.Tab:
        given = (name, self._screen, self._redraw.ask, self._said)
        if name == "Failures":
            project = self._source.project
            return FailuresTab(*given, logs=project.logs if project else None)
        kinds: dict[str, type[tabs.Tab]] = {
            "Overview": tabs.Overview,
            "Durations": tabs.Durations,
            "Schedule delays": tabs.Delays,
            "Schedules": tabs.Schedules,
            "Concurrency": tabs.Concurrency,
            "Calls": CallsTab,
            "Data quality": tabs.Quality,
        }
        return kinds[name](*given)

    def _actions(self) -> widgets.Widget:
        """Lay out the buttons."""
        self._refresh = widgets.Button(description="Refresh", icon="refresh", tooltip="Fetch the calls again")
        self._refresh.on_click(lambda _: self._said(self._refresh_or_stop))
        buttons = {
            "Export CSV": ("download", lambda: self._export(".csv")),
            "Export Parquet": ("download", lambda: self._export(".parquet")),
            "Copy code": ("code", self._show_code),
            "Reset": ("undo", self._reset),
        }
        made = []
        for words, (icon, act) in buttons.items():
            button = widgets.Button(description=words, icon=icon)
            button.on_click(lambda _, act=act: self._said(act))
            made.append(button)
        if self._source.refreshable:
            made.insert(0, self._refresh)
        return widgets.Box(made, layout={"flex_flow": "row wrap"})

    def _fill(self) -> None:
        """Offer what the source has."""
        with self._looking:
            self._controls.fill(self._source.offer())
            self._look = None
            self._shown = {}

    def _looked(self) -> CallAnalysis | RollupAnalysis:
        """Give what is selected now; what was worked out stays while that is the same."""
        with self._looking:
            selection, look = self.selection, self._look
            if look is None or look.selection.what != selection.what:
                look = self._source.look(selection)
            elif look.selection != selection:
                look = look.seen_as(selection) if isinstance(look, CallAnalysis) else self._source.look(selection)
            self._look = look
            return look

    def _draw(self) -> None:
        """Show what is selected now: the picture first, then the numbers, then what is under the picture."""
        self._said(self._draw_all)

    def _draw_all(self) -> None:
        shown = self._shown  # a refresh sets another one in its place
        look = self._looked()
        panel = self._panels[look.selection.tab]
        fresh = shown.get(panel.name) != look.selection
        if fresh and isinstance(look, CallAnalysis):
            panel.draw(look)
        figures = (look.selection.what, look.selection.tz)
        if shown.get("") != figures:
            self._figures.value = render_part("figures", look.figures)
            shown[""] = figures
        self._message.value = self._state(look)
        if fresh:
            panel.tell(look) if isinstance(look, CallAnalysis) else panel.survey(look)
            shown[panel.name] = look.selection
            self._drawn_tab = panel.name
        self._code.value = ""

    def _state(self, look: CallAnalysis | RollupAnalysis) -> str:
        """Say what a person should know before reading on."""
        if self._source.problem:
            return tabs.paragraph(self._source.problem, class_="bad", role="alert")
        if not look.size:
            return tabs.paragraph(EMPTY if self._source.empty else NOTHING, role="status")
        return tabs.paragraph(INCOMPLETE, class_="bad", role="status") if look.complete is False else ""

    def _said(self, act: Callable[[], object]) -> bool:
        """Do something; what goes wrong is shown, since a notebook shows no error of a callback, and False is given."""
        try:
            act()
        except CallframeError as error:
            self._tell(str(error))
        except Exception as error:  # noqa: BLE001 - the view stays alive, whatever a callback meets
            self._tell(f"Something went wrong here, which is a mistake in callframe: {type(error).__name__}: {error}")
        else:
            return True
        return False

    def _tell(self, words: str) -> None:
        self._message.value = tabs.paragraph(words, class_="bad", role="alert")

    def _export(self, suffix: str) -> None:
        self._redraw.now()  # else one that is due would wipe out what is said here
        calls = self.calls
        path = export.export(calls, suffix)
        self._message.value = f'<p role="status">{export.link(path, len(calls))}</p>'

    def _show_code(self) -> None:
        self._redraw.now()
        words = export.code(self._source, self._looked())
        self._code.value = render_part("code", words, words.count("\n") + 1)

    def _reset(self) -> None:
        self.selection = Selection(tab=TABS[self._tabs.selected_index or 0], tz=self._controls.zone)

    def _refresh_or_stop(self) -> None:
        """Fetch in a thread of its own, so that the same button can stop it."""
        if self._stop is not None:
            self._stop.set()
            self._refresh.description = "Stopping ..."
            return
        self._stop = threading.Event()
        self._refresh.description, self._refresh.icon = "Stop", "stop"
        self._message.value = tabs.paragraph("Fetching the calls ...", role="status")
        self.refreshing = threading.Thread(target=self._fetch, args=(self._stop,), daemon=True)
        self.refreshing.start()

    def _fetch(self, stop: threading.Event) -> None:
        try:
            if self._said(lambda: self._source.refresh(stop)) and self._said(self._fill):
                self._redraw.ask()
        finally:
            self._stop = None
            self._refresh.description, self._refresh.icon = "Refresh", "refresh"


def _html(name: str) -> widgets.HTML:
    made = widgets.HTML()
    made.add_class(name)
    return made


def _style() -> str:
    return resources.files("callframe.dashboard").joinpath("dashboard.css").read_text(encoding="utf-8")
