"""A real browser, for what only a browser can show."""

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

INSTALL_HINT = "needs Chromium: apt-get install chromium, or set CHROMIUM to the path of Chrome or Chromium"
OPTIONS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--force-color-profile=srgb",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # blocks the network, web sockets included
]
TIMEOUT_MS = 60_000
"""The longest wait for anything in a page on a busy machine."""
SCREENSHOTS = Path(__file__).parents[1] / "screenshots"
_LOW_CONTRAST = Path(__file__).with_name("low_contrast.js").read_text(encoding="utf-8")


@contextmanager
def launch() -> Iterator[Browser]:
    """Run Chromium without a window, or skip the test where it is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not path:
        pytest.skip(INSTALL_HINT)
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=path, args=OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


def wait_until(page: Page, condition: Callable[[], object], description: str) -> None:
    """Wait for a condition that no element of the page shows."""
    for _ in range(TIMEOUT_MS // 50):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"Not within {TIMEOUT_MS / 1000:.0f} s: {description}.")


def screenshot(page: Page, name: str) -> None:
    """Save an image of the window for people to look at."""
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled", caret="hide")


@dataclass
class PageLog:
    """Problems of a page that its user would not see, exceptions in the kernel included."""

    console_errors: list[str] = field(default_factory=list)
    external_requests: list[str] = field(default_factory=list)
    kernel_exceptions: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Fail if there was any problem since the last check."""
        problems = {entry.name: list(log) for entry in fields(self) if (log := getattr(self, entry.name))}
        for name in problems:
            getattr(self, name).clear()
        assert not problems, f"Problems behind the page: {problems}"

    def on_request(self, url: str) -> None:
        """Record a request to another machine; Voila's own template asks for icons and is ignored."""
        address = urlsplit(url)
        if "/@fortawesome/fontawesome-free@" in address.path:
            return
        if address.scheme in {"http", "https", "ws", "wss"} and not is_loopback(address.hostname or ""):
            self.external_requests.append(url)

    def on_console(self, message: ConsoleMessage) -> None:
        """Record an error in the console, unless `on_request` has recorded its blocked request."""
        if message.type == "error" and "ERR_NAME_NOT_RESOLVED" not in message.text:
            self.console_errors.append(f"{message.text} ({message.location['url']})")

    def on_websocket(self, socket: WebSocket) -> None:
        """Listen to the messages of a kernel."""
        self.on_request(socket.url)
        socket.on("framereceived", self.on_frame)

    def on_frame(self, payload: str | bytes) -> None:
        """Record an exception of a cell or of a callback; pages do not show the latter."""
        text = payload if isinstance(payload, str) else payload.decode("utf-8", errors="replace")
        if (position := text.find('"ename"')) >= 0:
            self.kernel_exceptions.append(text[position : position + 300])

    def on_dialog(self, dialog: Dialog) -> None:
        """Record a dialog, which only a script can have opened."""
        self.dialogs.append(dialog.message)
        dialog.dismiss()


def record(page: Page) -> PageLog:
    """Record the problems of a page from now on."""
    log = PageLog()
    page.on("console", log.on_console)
    page.on("pageerror", lambda error: log.console_errors.append(str(error)))
    page.on("request", lambda request: log.on_request(request.url))
    page.on("websocket", log.on_websocket)
    page.on("dialog", log.on_dialog)
    return log


def low_contrast(page: Page, selector: str) -> list[str]:
    """List the texts whose contrast with the background is below 4.5 (WCAG 2.2, 1.4.3)."""
    texts: list[str] = page.evaluate(_LOW_CONTRAST, selector)
    return texts
