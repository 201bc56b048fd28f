"""A real browser for what only one can tell, where there is one."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

HOW = "needs Chromium: apt-get install chromium, or set CHROMIUM to the path of Chrome or Chromium"
OPTIONS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--force-color-profile=srgb"]


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
