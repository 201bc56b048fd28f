"""A real browser for what only one can tell, where there is one."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from callframe.http.transport import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, WebSocket

HOW = "needs Chromium: apt-get install chromium, or set CHROMIUM to the path of Chrome or Chromium"
OPTIONS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--force-color-profile=srgb",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing leaves this machine, web sockets included
]
PATIENCE_MS = 60_000
"""How long anything in a page may take on a busy machine."""
_FAINT = (Path(__file__).parent / "faint.js").read_text(encoding="utf-8")
SCREENSHOTS = Path(__file__).parents[1] / "screenshots"


def path() -> str | None:
    """Find the browser."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """Run the browser, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    if not (program := path()):
        pytest.skip(HOW)
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=OPTIONS)
        try:
            yield opened
        finally:
            opened.close()


def until(page: Page, condition: Callable[[], object], what: str) -> None:
    """Wait for what no element of the page tells."""
    for _ in range(PATIENCE_MS // 50):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"Not within {PATIENCE_MS / 1000:.0f} s: {what}.")


def photograph(page: Page, name: str) -> None:
    """Keep a picture of what the window shows, for people to look at."""
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled", caret="hide")


@dataclass
class Seen:
    """What went on in a page that nobody would see: errors, requests off this machine, exceptions in the kernel."""

    errors: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    exceptions: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Fail if anything went wrong since the last time."""
        wrong = {one.name: list(found) for one in fields(self) if (found := getattr(self, one.name))}
        for name in wrong:
            getattr(self, name).clear()
        assert not wrong, f"Behind the page: {wrong}"

    def asked(self, url: str) -> None:
        """Take down a request if it goes elsewhere; those of Voila's own page for icons are no news."""
        address = urlsplit(url)
        if "/@fortawesome/fontawesome-free@" in address.path:
            return
        if address.scheme in {"http", "https", "ws", "wss"} and not is_loopback(address.hostname or ""):
            self.elsewhere.append(url)

    def said(self, message: ConsoleMessage) -> None:
        """Take down an error in the console; that of a request which was refused is known from the request."""
        if message.type == "error" and "ERR_NAME_NOT_RESOLVED" not in message.text:
            self.errors.append(f"{message.text} ({message.location['url']})")

    def opened(self, socket: WebSocket) -> None:
        """Listen to what a kernel answers."""
        self.asked(socket.url)
        socket.on("framereceived", self.received)

    def received(self, payload: str | bytes) -> None:
        """Take down an exception, be it of a cell or of a callback, which no page shows."""
        text = payload if isinstance(payload, str) else payload.decode("utf-8", errors="replace")
        if (place := text.find('"ename"')) >= 0:
            self.exceptions.append(text[place : place + 300])

    def asks(self, dialog: Dialog) -> None:
        """Take down what only a script can have opened."""
        self.dialogs.append(dialog.message)
        dialog.dismiss()


def watch(page: Page) -> Seen:
    """Take down what goes on in a page from now on."""
    seen = Seen()
    page.on("console", seen.said)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("request", lambda request: seen.asked(request.url))
    page.on("websocket", seen.opened)
    page.on("dialog", seen.asks)
    return seen


def faint(page: Page, within: str) -> list[str]:
    """List the texts whose contrast with what is behind them is less than people need, 4.5 (WCAG 2.2, 1.4.3)."""
    found: list[str] = page.evaluate(_FAINT, within)
    return found
