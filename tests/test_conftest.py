"""The tests cannot reach the network or the settings of their user."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
import requests

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).with_name("conftest.py").read_text(encoding="utf-8")
HOST = "callframe.invalid"
ADDRESS = "192.0.2.1"  # reserved for documentation, never routed


@pytest.mark.parametrize("method", ["connect", "connect_ex"])
def test_connection_to_another_machine_is_blocked(blocked: list[str], method: str) -> None:
    with socket.socket() as connection, pytest.raises(RuntimeError, match=ADDRESS):
        getattr(connection, method)((ADDRESS, 443))
    blocked.clear()


def test_name_lookup_in_a_thread_is_blocked(blocked: list[str]) -> None:
    def request() -> None:
        with pytest.raises(RuntimeError):
            requests.get(f"http://{HOST}", timeout=1, proxies={"http": ""})

    thread = threading.Thread(target=request)
    thread.start()
    thread.join()
    assert blocked == [HOST]
    blocked.clear()


def test_swallowed_attempt_fails_its_test(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        f"""
        import contextlib, socket

        def test_swallow():
            with contextlib.suppress(Exception):
                socket.getaddrinfo("{HOST}", 443)
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=1, errors=1)


def test_user_settings_are_cleared(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["CDF_PROJECT", "IDP_CLIENT_SECRET", "COGNITE_PROJECT", "LOGIN_FLOW", "PROVIDER"]
    for name in names:
        monkeypatch.setenv(name, "of-the-user")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(f"import os\n\ndef test_environment():\n    assert not set({names}) & set(os.environ)")
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
