"""The fixtures that keep every test on this machine do."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest
import requests

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).with_name("conftest.py").read_text(encoding="utf-8")
HOST = "callframe.invalid"
ADDRESS = "192.0.2.1"  # reserved for documentation, never routed


def test_name_of_another_machine_is_not_looked_up(blocked: list[str]) -> None:
    with pytest.raises(RuntimeError, match=HOST):
        socket.getaddrinfo(HOST, 443)
    blocked.clear()


@pytest.mark.parametrize("method", ["connect", "connect_ex"])
def test_address_of_another_machine_is_not_connected_to(blocked: list[str], method: str) -> None:
    with socket.socket() as connection, pytest.raises(RuntimeError, match=ADDRESS):
        getattr(connection, method)((ADDRESS, 443))
    blocked.clear()


def test_threads_are_kept_on_this_machine_too(blocked: list[str]) -> None:
    def swallow() -> None:
        with pytest.raises(RuntimeError):
            requests.get(f"http://{HOST}", timeout=1, proxies={"http": ""})

    thread = threading.Thread(target=swallow)
    thread.start()
    thread.join()
    assert blocked == [HOST]
    blocked.clear()


def test_loopback_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as connection:
        assert connection.getpeername() == server.getsockname()


def test_swallowed_attempt_fails_its_test(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        f"""
        import contextlib, socket

        def test_one():
            with contextlib.suppress(Exception):
                socket.getaddrinfo("{HOST}", 443)
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=1, errors=1)


def test_settings_of_the_user_are_out_of_sight(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["CDF_PROJECT", "IDP_CLIENT_SECRET", "COGNITE_PROJECT", "LOGIN_FLOW", "PROVIDER"]
    for name in names:
        monkeypatch.setenv(name, "of-the-user")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(f"import os\n\ndef test_one():\n    assert not set({names}) & set(os.environ)")
    pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_pictures_need_no_screen() -> None:
    assert os.environ["MPLBACKEND"] == "Agg"
