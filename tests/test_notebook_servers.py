"""The browser tests do record what goes wrong behind a page, in the settings they ask for."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from chromium import TIMEOUT_MS, record, wait_until
from notebook_servers import Subshells, run_notebook

if TYPE_CHECKING:
    from notebook_servers import Server
    from playwright.sync_api import Browser, Page

LAB = tuple(int(part) for part in version("jupyterlab").split(".")[:2])

CELL = """
import threading
import ipywidgets as widgets

number = widgets.IntText(description="Number", continuous_update=False)
failing = widgets.Button(description="Fail")
result = widgets.HTML("<p>no result yet</p>")

def double(change):
    thread = "main" if threading.current_thread() is threading.main_thread() else "other"
    result.value = f"<p>twice is {2 * change['new']}, in the {thread} thread</p>"

number.observe(double, names="value")
failing.on_click(lambda _: 1 / 0)
widgets.VBox([number, failing, result])
"""


def enter(page: Page, number: int) -> None:
    page.get_by_label("Number", exact=True).fill(str(number))
    page.keyboard.press("Enter")
    page.get_by_text(f"twice is {2 * number}, ").wait_for(timeout=TIMEOUT_MS)


@pytest.mark.parametrize("kind", ["lab", "voila"])
def test_problems_behind_a_page_are_recorded(kind: str, request: pytest.FixtureRequest, chromium: Browser) -> None:
    assert chromium.is_connected()  # skips before a server is started
    server: Server = request.getfixturevalue(kind)
    with chromium.new_page() as page:
        log = record(page)
        run_notebook(page, server, server.add("widgets.ipynb", CELL), theme="dark")
        enter(page, 21)
        assert page.evaluate("getComputedStyle(document.body).getPropertyValue('--jp-layout-color0').trim()") == "#111"
        log.check()
        page.get_by_role("button", name="Fail").click()
        wait_until(page, lambda: log.kernel_exceptions, "an exception")
        assert "ZeroDivisionError" in log.kernel_exceptions[0]
        page.evaluate("alert(1)")
        with page.expect_console_message():
            page.evaluate("console.error('out of order')")
        for host in ("example.invalid", "192.0.2.1", "localhost.example.invalid"):
            url = f"http://{host}/x.png"
            with page.expect_event("requestfailed", lambda failed, url=url: failed.url == url):
                page.evaluate("url => fetch(url).catch(() => null)", url)
            assert log.external_requests[-1] == url
        assert log.dialogs == ["1"]
        assert "out of order" in log.console_errors[0]
        with pytest.raises(AssertionError, match="ZeroDivisionError"):
            log.check()


@pytest.mark.skipif(LAB < (4, 4), reason="callbacks run in the main thread before JupyterLab 4.4")
@pytest.mark.parametrize(("subshells", "thread"), [("disabled", "main"), ("perCommTarget", "other")])
def test_setting_for_subshells_decides_the_thread_of_callbacks(
    subshells: Subshells, thread: str, chromium: Browser, lab: Server
) -> None:
    with chromium.new_page() as page:
        run_notebook(page, lab, lab.add(f"{subshells}.ipynb", CELL), subshells=subshells)
        for number in range(1, 4):  # since ipykernel 7.4 the first callback of a widget is in the main thread anyway
            enter(page, number)
        page.get_by_text(f"in the {thread} thread").wait_for(timeout=TIMEOUT_MS)
