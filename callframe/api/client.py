"""
Client of the Functions API: one method per endpoint, retries, and error messages that say what to do.

All requests only read, the POST requests included, so each can be repeated safely.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from callframe.api import schemas
from callframe.api.schemas import Call, CallResponse, Function, Limits, LogEntry, MalformedBodyError, Page, Schedule
from callframe.auth.tokens import BearerAuth
from callframe.errors import (
    BadRequestError,
    ForbiddenError,
    InvalidResponseError,
    NotFoundError,
    RateLimitError,
    ServiceError,
    TransportError,
    UnauthorizedError,
    UnavailableError,
)
from callframe.http.clock import ServiceClock
from callframe.http.locks import fork_safe_lock
from callframe.http.retry import Outage, Retry, Throttle, parse_retry_after
from callframe.http.transport import StoppedError, Transport, UnfinishedResponseError, user_agent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import requests

    from callframe.api.schemas import FunctionApp
    from callframe.auth.settings import Target
    from callframe.auth.tokens import Credentials

T = TypeVar("T")
Record = TypeVar("Record", bound=msgspec.Struct)
Listed = TypeVar("Listed", Function, Schedule)

PAGE_LIMITS = (10_000, 1_000, 100)
"""Page sizes to try in turn: the API documents no maximum."""

MAX_IDS_PER_REQUEST = 10_000

LISTING_LIMIT = 10_000
"""Page size for listings without a cursor; a project can have 100 functions and 1,000 schedules."""

DEFAULT_WORKERS, MAX_WORKERS = 5, 10
"""Concurrent requests; the official SDK sends 5."""

APPS = "/function-apps"
_APPS_VERSION = "20230101-beta"

DECODE_LOCK = fork_safe_lock()
"""Held while decoding and converting a page: pages done one at a time let their next requests go out earlier."""

_TRANSIENT = frozenset({408, 429, 502, 503, 504})
_MAX_IDLE_PAGES = 10
_MAX_HEADER_LENGTH = 100
_MAX_DETAIL_LENGTH = 500


class Client:
    """
    Client of the Functions API of one project.

    `apps` are the known function apps by function id: what belongs to a call of theirs is asked for there first.
    `app_refusal` is why the service lists no function apps, None unless it refused.
    """

    def __init__(
        self,
        target: Target,
        credentials: Credentials,
        *,
        workers: int = DEFAULT_WORKERS,
        retry: Retry | None = None,
        transport: Transport | None = None,
    ) -> None:
        self.target = target
        self._api_url = target.api_url
        self.workers = workers
        self.throttle = Throttle(workers)
        self.page_limit = PAGE_LIMITS[0]
        self.clock = ServiceClock()
        self.apps: Mapping[int, FunctionApp] = {}
        self.app_refusal: str | None = None
        self.waiting = ""
        self._outage = Outage()
        self._credentials = credentials
        self._retry = retry or Retry()
        self._transport = transport or Transport(target.base_url)
        self._headers = {
            "Accept": "application/json",
            "cdf-version": "20230101",
            "x-cdp-app": "callframe",
            "User-Agent": user_agent(),
        }

    def __repr__(self) -> str:
        return f"Client({self.target.base_url!r}, project={self.target.project!r})"

    def retrieve_call(self, function_id: int, call_id: int) -> Call:
        """Retrieve a call by its id: `GET /functions/{functionId}/calls/{callId}`."""
        decode: Callable[[bytes], Call] = partial(schemas.decode_record, record_type=Call)
        if app := self.apps.get(function_id):
            decode = partial(schemas.decode_app_call, function_id=function_id, app=app)
        call = self._read_of_call(function_id, call_id, "", decode)
        if (call.function_id, call.id) != (function_id, call_id):
            found, wanted = (
                f"call {call.id} of function {call.function_id}",
                f"call {call_id} of function {function_id}",
            )
            raise InvalidResponseError(f"The service answered with {found} when asked for {wanted}.", status=200)
        return call

    def filter_calls(
        self,
        function_id: int,
        filter: Mapping[str, Any],  # noqa: A002 - name of the API
        *,
        cursor: str | None = None,
        stop: threading.Event | None = None,
    ) -> Page[Call]:
        """List a page of the calls that match a filter: `POST /functions/{functionId}/calls/list`."""
        limit = self.page_limit
        body = {"filter": filter, "limit": limit} | ({"cursor": cursor} if cursor else {})
        path, description = f"/functions/{function_id}/calls/list", f"the calls of function {function_id}"
        try:
            return self._request(path, description, _decode_calls, body=body, stop=stop)
        except BadRequestError as error:
            smaller_limits = [page_limit for page_limit in PAGE_LIMITS if page_limit < limit]
            if cursor or not smaller_limits or "limit" not in error.detail.lower():
                raise
            self.page_limit = smaller_limits[0]
        return self.filter_calls(function_id, filter, stop=stop)

    def calls_by_ids(
        self, function_id: int, call_ids: Sequence[int], *, stop: threading.Event | None = None
    ) -> Page[Call]:
        """Retrieve those of at most 10,000 calls that exist: `POST /functions/{functionId}/calls/byids`."""
        path, description = f"/functions/{function_id}/calls/byids", f"{len(call_ids)} calls of function {function_id}"
        return self._request(path, description, _decode_calls, body=_ids_body(call_ids), stop=stop)

    def list_app_calls(
        self, function_id: int, app: FunctionApp, *, cursor: str | None = None, stop: threading.Event | None = None
    ) -> Page[Call]:
        """List the calls of a function app: `GET /function-apps/{externalId}/calls`, which has no filter."""
        path = _app_path(app) + (f"?{urlencode({'cursor': cursor})}" if cursor else "")
        decode = partial(schemas.decode_app_page, function_id=function_id, app=app)
        return self._request(path, f"the calls of {app.external_id}", decode, stop=stop)

    def call_log(self, function_id: int, call_id: int, *, stop: threading.Event | None = None) -> Page[LogEntry]:
        """Read the log of a call: `GET /functions/{functionId}/calls/{callId}/logs`."""
        decode = partial(schemas.decode_page, record_type=LogEntry)
        return self._read_of_call(function_id, call_id, "/logs", decode, stop=stop)

    def call_response(self, function_id: int, call_id: int, *, stop: threading.Event | None = None) -> CallResponse:
        """Read the response of a call: `GET /functions/{functionId}/calls/{callId}/response`."""
        decode = partial(schemas.decode_record, record_type=CallResponse)
        return self._read_of_call(function_id, call_id, "/response", decode, stop=stop)

    def list_functions(self, *, stop: threading.Event | None = None) -> Page[Function]:
        """List all functions: `POST /functions/list`."""
        return self._read_listing("/functions/list", "the functions", Function, stop=stop)

    def list_function_apps(self, *, stop: threading.Event | None = None) -> Page[Function]:
        """List all function apps: `GET /function-apps`, which not every project has."""
        return self._read_listing(APPS, "the function apps", Function, stop=stop)

    def list_schedules(self, *, stop: threading.Event | None = None) -> Page[Schedule]:
        """List all schedules: `POST /functions/schedules/list`."""
        return self._read_listing("/functions/schedules/list", "the schedules", Schedule, stop=stop)

    def limits(self) -> Limits:
        """Read the limits of the service: `GET /functions/limits`."""
        return self._read_record("/functions/limits", "the limits", Limits)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def _read_record(self, path: str, description: str, record_type: type[Record]) -> Record:
        return self._request(path, description, partial(schemas.decode_record, record_type=record_type))

    def _read_listing(
        self, path: str, description: str, record_type: type[Listed], *, stop: threading.Event | None = None
    ) -> Page[Listed]:
        """
        Read a listing, which has no next page by the documentation; one that it has is read too.

        The result has a cursor if the listing did not end: a page was refused, or too many had no new records.
        """

        def read_page(cursor: str | None) -> Page[Listed]:
            decode = partial(schemas.decode_page, record_type=record_type)
            following = {"cursor": cursor} if cursor else {}
            if path == APPS:
                return self._request(f"{path}?{urlencode(following)}".rstrip("?"), description, decode, stop=stop)
            body = {"limit": LISTING_LIMIT} | following
            return self._request(path, description, decode, body=body, stop=stop)

        page = read_page(None)
        ids, idle_pages = {record.id for record in page.items}, 0
        while page.next_cursor is not None and idle_pages < _MAX_IDLE_PAGES:
            try:
                more = read_page(page.next_cursor)
            except ServiceError:
                break
            new = [record for record in more.items if record.id not in ids]
            ids.update(record.id for record in new)
            idle_pages = 0 if new else idle_pages + 1
            set_aside, repaired = page.set_aside + more.set_aside, page.repaired + more.repaired
            page = Page(page.items + new, more.next_cursor, set_aside, repaired)
        return page

    def _read_of_call(
        self,
        function_id: int,
        call_id: int,
        ending: str,
        decode: Callable[[bytes], T],
        *,
        stop: threading.Event | None = None,
    ) -> T:
        """Read a call, its log or its response; if its function is an app, first from the app."""
        part = {"/logs": "the log of ", "/response": "the response of "}.get(ending, "")
        description = f"{part}call {call_id} of function {function_id}"
        if app := self.apps.get(function_id):
            with contextlib.suppress(NotFoundError):
                return self._request(f"{_app_path(app)}/{call_id}{ending}", description, decode, stop=stop)
        return self._request(f"/functions/{function_id}/calls/{call_id}{ending}", description, decode, stop=stop)

    def _request(
        self,
        path: str,
        description: str,
        decode: Callable[[bytes], T],
        *,
        body: Mapping[str, Any] | None = None,
        stop: threading.Event | None = None,
    ) -> T:
        """Send a request, a POST if it has a body, with retries; `description` names the data in error messages."""
        stop = stop or threading.Event()
        allowed = {"status": self._retry.status, "connect": self._retry.connect, "reauthenticate": 1, "final": 0}
        failures: Counter[str] = Counter()
        successes = self._outage.successes
        while not stop.is_set():
            interrupted = False
            try:
                outcome = self._request_once(path, description, decode, body, stop)
            except KeyboardInterrupt:  # its traceback may hold frames whose variables contain the token
                interrupted = True
            if interrupted:
                raise KeyboardInterrupt
            if not isinstance(outcome, _Failure):
                return outcome
            failures[outcome.kind] += 1
            is_last = failures[outcome.kind] > allowed[outcome.kind]
            if outcome.is_transient:
                has_outage = self._outage.is_declared(failed_since=successes, is_last_retry=is_last)
                is_last |= has_outage and failures.total() > 1
            if is_last:
                raise outcome.error
            if outcome.is_transient:
                self.waiting = f"waiting, {getattr(outcome.error, 'status', 'no response')}"
                stop.wait(self._retry.backoff_s(failures[outcome.kind], outcome.retry_after_s))
        raise StoppedError

    def _request_once(
        self,
        path: str,
        description: str,
        decode: Callable[[bytes], T],
        body: Mapping[str, Any] | None,
        stop: threading.Event,
    ) -> T | _Failure:
        """Send a request once; a rejected token is renewed, once for all threads."""
        auth = BearerAuth(self._credentials, self.target.base_url)
        url, method, headers, content = self._api_url + path, "GET", self._headers, None
        if path.startswith(APPS):
            headers = headers | {"cdf-version": _APPS_VERSION}
        if body is not None:
            method, headers = "POST", self._headers | {"Content-Type": "application/json"}
            content = msgspec.json.encode(body)
        with self.throttle.acquire(stop) as generation:
            sent_s = time.monotonic()
            try:
                response = self._transport.send(method, url, auth=auth, headers=headers, body=content, stop=stop)
            except UnfinishedResponseError as error:
                return _Failure("final", error)
            except TransportError as error:
                return _Failure("connect", error)
        if response.status_code == HTTPStatus.OK:
            self.throttle.record_success()
            self._outage.end()
            self.waiting = ""
            date = None if "Age" in response.headers else response.headers.get("Date")  # a cache repeats old dates
            self.clock.observe(date, time.monotonic() - sent_s)
            return _decode(response, description, auth, decode)
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            self.throttle.slow_down(generation)
        service_error = _service_error(response, description, auth)
        if response.status_code == HTTPStatus.UNAUTHORIZED and auth.renew():
            return _Failure("reauthenticate", service_error)
        if response.status_code in _TRANSIENT or _error_object(response).get("isAutoRetryable") is True:
            return _Failure("status", service_error, self._retry_after_s(response))
        return _Failure("final", service_error)

    def _retry_after_s(self, response: requests.Response) -> float | None:
        return parse_retry_after(response.headers.get("Retry-After"), now_s=self.clock.now_ms() / 1000)


@dataclass(frozen=True)
class _Failure:
    """Error of a request, and the kind of retries it counts against."""

    kind: Literal["status", "connect", "reauthenticate", "final"]
    error: ServiceError | TransportError
    retry_after_s: float | None = None

    @property
    def is_transient(self) -> bool:
        return self.kind in {"status", "connect"}


def _app_path(app: FunctionApp) -> str:
    return f"{APPS}/{quote(app.external_id, safe='')}/calls"


def _ids_body(ids: Sequence[int]) -> dict[str, Any]:
    return {"items": [{"id": item_id} for item_id in ids], "ignoreUnknownIds": True}


def _decode_calls(body: bytes) -> Page[Call]:
    with DECODE_LOCK:
        return schemas.decode_page(body, Call)


def _decode(
    response: requests.Response, description: str, auth: BearerAuth, decode: Callable[[bytes], T]
) -> T | _Failure:
    """Decode a response; a malformed one may be truncated, so it is retried like a broken connection."""
    try:
        return decode(response.content)
    except MalformedBodyError as error:
        reason = str(error)
    text = response.content.decode("utf-8", "replace")
    if auth.redact(text) != text:
        reason = "it contains the token"  # and the quoted beginning may show a part of it
    content_type = auth.redact(response.headers.get("Content-Type", "no content type"))[:_MAX_HEADER_LENGTH]
    hint = " HTML usually comes from a gateway or a sign-in page." if "html" in content_type.lower() else ""
    message = f"The response from {_host(response)} for {description} cannot be read ({content_type}): {reason}.{hint}"
    return _Failure("connect", _make_error(InvalidResponseError, message, response, auth))


def _service_error(response: requests.Response, description: str, auth: BearerAuth) -> ServiceError:
    """Make the error of a response: status, host, what was read, the message of the service, what to do."""
    detail = _detail(response, auth)
    error_type, advice = _error_type(response)
    ending = f": {detail}" if detail else ""
    ending += "" if ending.endswith(".") else "."
    message = f"{response.status_code} from {_host(response)} while reading {description}{ending} {advice}"
    return _make_error(error_type, message, response, auth, detail=detail)


def _make_error(
    error_type: type[ServiceError], message: str, response: requests.Response, auth: BearerAuth, *, detail: str = ""
) -> ServiceError:
    header = response.headers.get("X-Request-ID")
    request_id = auth.redact(header)[:_MAX_HEADER_LENGTH] if header else None
    message += f" (X-Request-ID: {request_id})" if request_id else ""
    return error_type(message, status=response.status_code, request_id=request_id, detail=detail)


def _error_type(response: requests.Response) -> tuple[type[ServiceError], str]:  # noqa: PLR0911 - a table
    """Choose the error class for a response, and the advice for its message."""
    status = response.status_code
    if status == HTTPStatus.UNAUTHORIZED:
        return UnauthorizedError, "The token was not accepted: sign in again, and check that it is for this project."
    if status == HTTPStatus.FORBIDDEN:
        return ForbiddenError, (
            "This needs the capability functionsAcl:READ in the project: ask its administrator for a group that has it."
        )
    has_missing_ids = bool(_error_object(response).get("missing"))
    if status == HTTPStatus.NOT_FOUND or (has_missing_ids and status < HTTPStatus.INTERNAL_SERVER_ERROR):
        return NotFoundError, "Check the id: calls are kept for 90 days, and a redeployed function has a new id."
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimitError, "The service is still busy after all retries: try later, or with fewer workers."
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UnavailableError, "The service failed: try later, or send the request id to Cognite support."
    if status < HTTPStatus.BAD_REQUEST:
        return InvalidResponseError, (
            "Redirects are not followed, so that the token is not sent elsewhere: check the cluster or base URL."
        )
    return BadRequestError, "The service did not understand the request."


def _error_object(response: requests.Response) -> dict[str, Any]:
    """Return the `error` object of an error response; gateways send HTML or nothing."""
    try:
        body = schemas.decode_json(response.content)
    except MalformedBodyError:
        return {}
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {"message": error} if isinstance(error, str) else {}


def _detail(response: requests.Response, auth: BearerAuth) -> str:
    """Return the message of the service; redacted before it is cut, because half a token is secret too."""
    if response.is_redirect:
        location = auth.redact(response.headers["Location"])
        return f"redirected to {urlsplit(location).hostname or 'another path'}"
    error = _error_object(response)
    message = auth.redact(str(error.get("message") or ""))
    if error.get("missing"):
        message = f"{message} (missing: {auth.redact(str(error['missing']))[:200]})"
    return message.strip()[:_MAX_DETAIL_LENGTH]


def _host(response: requests.Response) -> str:
    return urlsplit(response.url).netloc
