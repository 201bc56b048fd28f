"""The dashboard in a page of JupyterLab or Voila."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from chromium import TIMEOUT_MS, wait_until
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from chromium import PageLog
    from playwright.sync_api import Locator, Page

ROOT = ".callframe-explore"
TABS = (
    "Overview", "Durations", "Delays", "Failures", "Schedules", "Concurrency", "Changes", "What differs", "Calls",
    "Data quality",
)  # fmt: skip

_DECODED = """before => [...document.querySelectorAll('.callframe-explore .callframe-picture img')].some(
    one => one.checkVisibility() && one.src !== before && one.complete && one.naturalWidth > 0
)"""


class Dashboard:
    """A dashboard in a page, with the problems that the page reports and the calls that it shows."""

    def __init__(self, page: Page, log: PageLog, calls: pd.DataFrame) -> None:
        self.page, self.log, self.calls = page, log, calls
        self.root = page.locator(ROOT)

    def field(self, label: str) -> Locator:
        return self.root.get_by_label(label, exact=True)

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    def status(self, name: str) -> Locator:
        """Find the chip of a status, whose name its count follows."""
        return self.root.locator(".callframe-statuses button", has_text=name)

    def range(self, name: str) -> Locator:
        return self.root.get_by_role("radio", name=name, exact=True)

    def key_figure(self, name: str) -> Locator:
        return (
            self.root.locator(".figures button").filter(has=self.page.get_by_text(name, exact=True)).locator(".value")
        )

    @property
    def panel(self) -> Locator:
        return self.root.locator(".callframe-panel")

    @property
    def plot(self) -> Locator:
        return self.panel.locator(".callframe-picture img")

    @property
    def drawer(self) -> Locator:
        return self.root.get_by_role("dialog")

    def open(self, tab: str) -> None:
        self.root.get_by_role("tab", name=tab, exact=True).click()

    @contextlib.contextmanager
    def new_plot(self) -> Iterator[None]:
        """Wait at the end until a new plot is shown and decoded."""
        before = self.plot.get_attribute("src", timeout=TIMEOUT_MS)
        yield
        self.page.wait_for_function(_DECODED, arg=before, timeout=TIMEOUT_MS)

    def fits(self) -> bool:
        """Check that no part of it is wider than the page."""
        wide = "root => [...root.querySelectorAll('*')].some(one => one.getBoundingClientRect().right > innerWidth + 1"
        return not self.root.evaluate(f"{wide} && !one.closest('.table, pre'))")

    def shows(self, count: int) -> None:
        """Wait until a number of calls is shown as selected."""
        expect(self.key_figure("Calls")).to_have_text(f"{count:,}", timeout=TIMEOUT_MS)

    def _is_reset(self) -> bool:
        self.root.evaluate(
            "root => [...root.querySelectorAll('button')].find(one => one.innerText === 'Reset')?.click()"
        )
        return self.key_figure("Calls").inner_text() == f"{len(self.calls):,}" and not self.button("Reset").count()

    def reset(self) -> None:
        """Select everything, and open the first tab."""
        if self.drawer.count():
            self.button("Close the call").click()
        self.open(TABS[0])
        wait_until(self.page, self._is_reset, "everything is selected")
        self.plot.wait_for(timeout=TIMEOUT_MS)
