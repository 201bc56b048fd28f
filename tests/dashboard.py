"""The dashboard in a page of JupyterLab or Voila."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from chromium import TIMEOUT_MS
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from chromium import PageLog
    from playwright.sync_api import Locator, Page

ROOT = ".callframe-explore"
TABS = (
    "Overview", "Durations", "Schedule delays", "Failures", "Schedules", "Concurrency", "Calls", "Data quality",
)  # fmt: skip

_DECODED = """before => [...document.querySelectorAll('.callframe-picture img')].some(
    one => one.checkVisibility() && one.src !== before && one.complete && one.naturalWidth > 0
)"""


class Dashboard:
    """A dashboard in a page, with the problems that the page reports and the calls that it shows."""

    def __init__(self, page: Page, log: PageLog, calls: pd.DataFrame) -> None:
        self.page, self.log, self.calls = page, log, calls
        self.root = page.locator(ROOT)

    def field(self, label: str) -> Locator:
        return self.root.get_by_label(label, exact=True)

    def option(self, name: str) -> str:
        """Find the option of a function, whose label continues with its failures."""
        options = self.field("Functions").locator("option")
        found: str = options.evaluate_all(
            "(all, start) => all.find(one => one.innerText.replaceAll('\\u00a0', ' ').startsWith(start)).value",
            f"{name} ·",
        )
        return found

    def button(self, name: str) -> Locator:
        named = re.compile(rf"^\W*{re.escape(name)}$")  # an icon, which is a letter of its own, may come first
        return self.root.get_by_role("button", name=named)

    def key_figure(self, name: str) -> Locator:
        return (
            self.root.locator(".callframe-figures dl > div")
            .filter(has=self.page.get_by_text(name, exact=True))
            .locator(".value")
        )

    @property
    def panel(self) -> Locator:
        return self.root.locator(".callframe-panel:visible")

    @property
    def plot(self) -> Locator:
        return self.panel.locator(".callframe-picture img")

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
        return not self.root.evaluate(f"{wide} && !one.closest('.table, .p-TabBar, .lm-TabBar, pre'))")

    def shows(self, count: int) -> None:
        """Wait until a number of calls is shown as selected."""
        expect(self.key_figure("Calls")).to_have_text(f"{count:,}", timeout=TIMEOUT_MS)

    def reset(self) -> None:
        """Select everything, and open the first tab."""
        self.button("Reset").click()
        self.open(TABS[0])
        chosen = self.root.locator(
            ".callframe-controls .mod-active, .callframe-controls select[multiple] option:checked"
        )
        expect(chosen).to_have_text(["All"], timeout=TIMEOUT_MS)  # of the range
        self.shows(len(self.calls))
        self.plot.wait_for(timeout=TIMEOUT_MS)
