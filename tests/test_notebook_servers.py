"""What the tests in a browser stand on: real servers, real kernels, and eyes for what goes wrong behind a page."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from chromium import PATIENCE_MS, Seen, until, watch
from notebook_servers import Server, Subshells, show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

LAB = tuple(int(part) for part in version("jupyterlab").split(".")[:2])

CELL = """
import threading
import ipywidgets as widgets

number = widgets.IntText(description="Number", continuous_update=False)
failing = widgets.Button(description="Fail")
answer = widgets.HTML("<p>nothing yet</p>")

def tell(change):
    thread = "main" if threading.current_thread() is threading.main_thread() else "other"
    answer.value = f"<p>twice is {2 * change['new']}, says the {thread} thread</p>"

number.observe(tell, names="value")
failing.on_click(lambda _: 1 / 0)
widgets.VBox([number, failing, answer])
"""


@pytest.fixture(scope="module", params=["lab", "voila"])
def server(request: pytest.FixtureRequest, chromium: Browser) -> Server:  # no browser, no server
    assert chromium.is_connected()
    started: Server = request.getfixturevalue(request.param)
    started.add("widgets.ipynb", CELL)
    return started


@pytest.fixture(scope="module")
def opened(server: Server, chromium: Browser) -> Iterator[tuple[Page, Seen]]:
    with chromium.new_page() as page:
        seen = watch(page)
        show(page, server, "widgets.ipynb")
        page.get_by_text("nothing yet", exact=True).wait_for(timeout=PATIENCE_MS)
        yield page, seen


def test_nothing_goes_wrong_where_nothing_is(opened: tuple[Page, Seen]) -> None:
    _, seen = opened
    assert (seen.errors, seen.exceptions, seen.dialogs) == ([], [], [])


def enter(page: Page, number: int) -> None:
    page.get_by_label("Number", exact=True).fill(str(number))
    page.keyboard.press("Enter")
    page.get_by_text(f"twice is {2 * number}, ").wait_for(timeout=PATIENCE_MS)


def test_change_of_a_control_reaches_the_kernel_and_its_answer_the_page(opened: tuple[Page, Seen]) -> None:
    enter(opened[0], 21)


def test_exception_of_a_callback_is_seen(opened: tuple[Page, Seen]) -> None:
    page, seen = opened
    page.get_by_role("button", name="Fail").click()
    until(page, lambda: seen.exceptions, "an exception")
    assert "ZeroDivisionError" in seen.exceptions.pop()


def test_error_in_the_console_is_seen(opened: tuple[Page, Seen]) -> None:
    page, seen = opened
    with page.expect_console_message():
        page.evaluate("console.error('out of order')")
    assert "out of order" in seen.errors.pop()


def test_error_of_a_script_is_seen(opened: tuple[Page, Seen]) -> None:
    page, seen = opened
    with page.expect_event("pageerror"):
        page.evaluate("setTimeout(() => { throw new Error('out of order') })")
    assert "out of order" in seen.errors.pop()


@pytest.mark.parametrize("host", ["example.invalid", "192.0.2.1", "localhost.example.invalid"])
def test_request_to_elsewhere_is_refused_and_seen(host: str, opened: tuple[Page, Seen]) -> None:
    page, seen = opened
    url = f"http://{host}/x.png"
    with page.expect_event("requestfailed", lambda request: request.url == url) as failed:
        page.evaluate("url => fetch(url).catch(() => null)", url)
    assert failed.value.failure == "net::ERR_NAME_NOT_RESOLVED"
    assert seen.elsewhere.pop() == url


def test_script_that_opens_a_dialog_is_seen(opened: tuple[Page, Seen]) -> None:
    page, seen = opened
    page.evaluate("alert(1)")
    assert seen.dialogs.pop() == "1"


def is_light(page: Page) -> bool:
    shade = page.evaluate("getComputedStyle(document.body).getPropertyValue('--jp-layout-color0').trim()")
    return shade in {"white", "#fff", "#ffffff"}


def test_theme_is_light(opened: tuple[Page, Seen]) -> None:
    assert is_light(opened[0])


def test_theme_is_dark_where_asked_for(server: Server, chromium: Browser) -> None:
    with chromium.new_page() as page:
        show(page, server, "widgets.ipynb", theme="dark")
        page.get_by_text("nothing yet", exact=True).wait_for(timeout=PATIENCE_MS)
        assert not is_light(page)


@pytest.mark.skipif(LAB < (4, 4), reason="callbacks run in the main thread before JupyterLab 4.4")
@pytest.mark.parametrize(("mode", "thread"), [("disabled", "main"), ("perCommTarget", "other")])
def test_thread_of_callbacks_is_a_setting(mode: Subshells, thread: str, chromium: Browser, lab: Server) -> None:
    with chromium.new_page() as page:
        show(page, lab, lab.add(f"{mode}.ipynb", CELL), subshells=mode)
        for number in range(1, 4):  # since ipykernel 7.4 a control's first callback is in the main thread all the same
            enter(page, number)
        page.get_by_text(f"says the {thread} thread").wait_for(timeout=PATIENCE_MS)
