"""Many changes, one redraw: none is lost, none draws what is no longer wanted."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PAUSE_S = 0.03
"""How long to wait for the next change before drawing this one."""


class Redraw:
    """
    Draws after changes.

    A notebook may run callbacks in threads of its own. Wherever a change comes from, one thread draws at a time, and
    goes on until what it drew is what was asked for last.

    Parameters
    ----------
    draw
        Draws the present state.
    pause_s
        How long to wait for further changes, where the thread has an event loop that can wait.
    """

    def __init__(self, draw: Callable[[], None], *, pause_s: float = PAUSE_S) -> None:
        self._draw = draw
        self._pause_s = pause_s
        self._drawing = threading.Lock()
        self._drawer: int | None = None
        self._counting = threading.Lock()
        self._asked = self._drawn = 0
        self._waiting: set[asyncio.AbstractEventLoop] = set()

    def ask(self) -> None:
        """Ask for a redraw: after a short pause where there is an event loop, else at once."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        with self._counting:
            self._asked += 1
            if loop in self._waiting:  # another loop may be busy for long, so each has its own turn
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
        """Draw now, if anything has changed since the last time."""
        if self._drawer == threading.get_ident():  # drawing asked for it: the loop below goes round once more
            return
        with self._drawing:
            self._drawer = threading.get_ident()
            try:
                while self._drawn < self._asked:
                    asked = self._asked
                    self._draw()
                    self._drawn = asked
            finally:
                self._drawer = None
