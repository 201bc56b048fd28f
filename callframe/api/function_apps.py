"""
Listing the function apps of a project beside its functions.

Not every service has function apps, and they must never be in the way of the functions: a service that refuses to list
them is not asked again, and one that does not answer is waited for briefly.
"""

from __future__ import annotations

import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from callframe.api.client import APPS
from callframe.api.schemas import Function, Page
from callframe.api.workers import Workers
from callframe.errors import CallframeError, ForbiddenError, RateLimitError, ServiceError, UnauthorizedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callframe.api.client import Client

GRACE_S = 5.0
"""How long to wait for the function apps once the functions have been listed."""


class AppListing(NamedTuple):
    """The function apps; `outcome` says whether they were read, `notice` is a warning, `failed` if it may yet work."""

    page: Page[Function]
    outcome: str = "read"
    notice: str | None = None
    failed: bool = False


def list_functions_and_apps(client: Client) -> tuple[Page[Function], AppListing]:
    """List functions and function apps at the same time."""
    if client.app_refusal is not None:
        return client.list_functions(), AppListing(Page([]), client.app_refusal)
    stop = threading.Event()

    def list_apps(client: Client) -> Iterator[AppListing]:
        try:
            yield AppListing(client.list_function_apps(stop=stop))
        except ServiceError as error:
            yield _refused(client, error) if _is_refusal(error) else _failed(str(error))
        except Exception as error:  # noqa: BLE001 - without a result, the caller would wait in vain
            yield _failed(str(error) if isinstance(error, CallframeError) else repr(error))

    with Workers(1, list_apps, stop) as workers:
        if client.workers > 1:
            workers.submit(client)
        functions, give_up_s = client.list_functions(), time.monotonic() + GRACE_S
        if client.workers == 1:
            workers.submit(client)
        while time.monotonic() < give_up_s:
            if listing := workers.next_result():
                return functions, listing
    return functions, _failed(f"no answer from {APPS} within {GRACE_S:g} s")


def _is_refusal(error: ServiceError) -> bool:
    """Check for an answer that asking again would not change."""
    is_client_error = HTTPStatus.BAD_REQUEST <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR
    return is_client_error and not isinstance(error, RateLimitError) and error.status != HTTPStatus.REQUEST_TIMEOUT


def _refused(client: Client, error: ServiceError) -> AppListing:
    client.app_refusal = outcome = f"not available: {error}"
    notice = None
    if isinstance(error, ForbiddenError | UnauthorizedError):
        notice = f"Function apps, if there are any, are not read: {error}"
    return AppListing(Page([]), outcome, notice)


def _failed(reason: str) -> AppListing:
    reason = f"the function apps could not be listed: {reason}"
    return AppListing(Page([]), reason, f"Calls of function apps are missing: {reason}", failed=True)
