"""
The wire: one method an endpoint, retries, and errors that say what to do.

Every request here only reads, the POST ones too, so each may be sent again.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import email.utils
import random
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec

from callframe.api import schemas
from callframe.api.schemas import Call, CallResponse, Function, Limits, LogEntry, MalformedBodyError, Page, Schedule
from callframe.auth.credentials import BearerAuth
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
from callframe.http.transport import Transport, user_agent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import requests

    from callframe.auth.credentials import Credentials
    from callframe.auth.settings import Target

Answer = TypeVar("Answer")

PAGE_LIMITS = (10_000, 1_000, 100)
"""Rows to ask for a page. No maximum is published; if the service minds the first, the next is tried."""

IDS_A_REQUEST = 10_000
"""Ids that one request may name."""

LISTING_LIMIT = 10_000
"""Rows to ask of listings that have no cursor; a project holds 100 functions and 1,000 schedules."""

WORKERS, WORKERS_MAX = 5, 10
"""Requests under way at once: what the official SDK allows itself, and the most callframe does."""

_DOUBLINGS = 64  # more would change nothing but overflow
_PASSING = frozenset({408, 429, 502, 503, 504})
_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY = 200, 401, 403, 404, 429
_SERVER_ERROR = 500
_HEADER_LENGTH = 100


class StoppedError(Exception):
    """The work was stopped while a request waited for its next try. Never leaves callframe."""


@dataclass(frozen=True)
class Retry:
    """
    When to try again, and how long to wait.

    Parameters
    ----------
    refusals
        Tries after an answer of a passing fault (408, 429, 502, 503, 504, or marked as such by the service).
    breaks
        Tries after no whole answer.
    base_s, cap_s
        The wait before try n is drawn evenly from 0 to `base_s * 2**n`, at most `cap_s` (full jitter, after Brooker,
        "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    retry_after_cap_s
        The longest `Retry-After` to honour.
    """

    refusals: int = 10
    breaks: int = 3
    base_s: float = 0.5
    cap_s: float = 30.0
    retry_after_cap_s: float = 60.0

    def wait_s(self, tries: int, retry_after_s: float | None = None) -> float:
        """
        Draw how long to wait.

        Parameters
        ----------
        tries
            Tries so far, from 1.
        retry_after_s
            What the service asked for; it is waited at least.

        Returns
        -------
        wait_s
            Seconds.
        """
        most_s = min(self.cap_s, self.base_s * 2.0 ** min(tries, _DOUBLINGS))
        jitter = random.uniform(0, most_s)  # noqa: S311 - no secret hangs on it
        return max(jitter, min(retry_after_s or 0.0, self.retry_after_cap_s))


class Throttle:
    """
    Let a number of requests through at once: half as many after a 429, one more again after a calm while.

    Parameters
    ----------
    most
        Requests at once to begin with, and at most.
    """

    def __init__(self, most: int) -> None:
        self.most = self.limit = most
        self._busy = self._calm = self._era = 0
        self._free = threading.Condition()

    @contextlib.contextmanager
    def passing(self) -> Iterator[int]:
        """
        Wait for a place and hold it.

        Yields
        ------
        era
            To be handed to `slow_down`: many requests refused together halve the limit once.
        """
        with self._free:
            self._free.wait_for(lambda: self._busy < self.limit)
            self._busy += 1
            era = self._era
        try:
            yield era
        finally:
            with self._free:
                self._busy -= 1
                self._free.notify_all()

    def slow_down(self, era: int) -> None:
        """Halve the limit, unless a request of the same era already did."""
        with self._free:
            self._calm = 0
            if era == self._era:
                self._era += 1
                self.limit = max(1, self.limit // 2)

    def calm(self) -> None:
        """Note an answer without complaint; enough of them raise the limit by one."""
        with self._free:
            self._calm += 1
            if self._calm >= 4 * self.limit and self.limit < self.most:
                self._calm = 0
                self.limit += 1
                self._free.notify_all()


class Client:
    """
    Talk to the Functions API of one project.

    Parameters
    ----------
    target
        Where to.
    credentials
        As whom.
    workers
        Requests under way at once, 1 to 10.
    retry
        When to try again.
    transport
        What sends; by default one made for the target.
    """

    def __init__(
        self,
        target: Target,
        credentials: Credentials,
        *,
        workers: int = WORKERS,
        retry: Retry | None = None,
        transport: Transport | None = None,
    ) -> None:
        self.target = target
        self.workers = workers
        self.gate = Throttle(workers)
        self.page_limit = PAGE_LIMITS[0]
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
        """Retrieve one call by its id: `GET /functions/{functionId}/calls/{callId}`."""
        what = f"call {call_id} of function {function_id}"
        return self._ask(
            "GET", f"/functions/{function_id}/calls/{call_id}", what, partial(schemas.decode_one, record=Call)
        )

    def list_calls(
        self, function_id: int, *, cursor: str | None = None, stop: threading.Event | None = None
    ) -> Page[Call]:
        """List a page of all calls of a function: `GET /functions/{functionId}/calls`."""
        query = urlencode({"limit": self.page_limit} | ({"cursor": cursor} if cursor else {}))
        what = f"the calls of function {function_id}"
        return self._ask("GET", f"/functions/{function_id}/calls?{query}", what, _calls, stop=stop)

    def filter_calls(
        self,
        function_id: int,
        filter: Mapping[str, Any],  # noqa: A002 - the API's word
        *,
        cursor: str | None = None,
        stop: threading.Event | None = None,
    ) -> Page[Call]:
        """Filter a page of calls: `POST /functions/{functionId}/calls/list`."""
        limit = self.page_limit
        body = {"filter": filter, "limit": limit} | ({"cursor": cursor} if cursor else {})
        what = f"the calls of function {function_id}"
        try:
            return self._ask("POST", f"/functions/{function_id}/calls/list", what, _calls, body=body, stop=stop)
        except BadRequestError as error:
            smaller = [one for one in PAGE_LIMITS if one < limit]
            if cursor or not smaller or "limit" not in error.detail.lower():
                raise
            self.page_limit = smaller[0]
        return self.filter_calls(function_id, filter, stop=stop)

    def calls_by_ids(
        self, function_id: int, call_ids: Sequence[int], *, stop: threading.Event | None = None
    ) -> Page[Call]:
        """Retrieve the calls that exist of at most 10,000 ids: `POST /functions/{functionId}/calls/byids`."""
        body = {"items": [{"id": call_id} for call_id in call_ids], "ignoreUnknownIds": True}
        what = f"{len(call_ids)} calls of function {function_id}"
        return self._ask("POST", f"/functions/{function_id}/calls/byids", what, _calls, body=body, stop=stop)

    def call_log(self, function_id: int, call_id: int) -> Page[LogEntry]:
        """Read what a call printed: `GET /functions/{functionId}/calls/{callId}/logs`."""
        what = f"the log of call {call_id} of function {function_id}"
        decode = partial(schemas.decode_page, record=LogEntry)
        return self._ask("GET", f"/functions/{function_id}/calls/{call_id}/logs", what, decode)

    def call_response(self, function_id: int, call_id: int) -> Any:
        """Read what a call returned: `GET /functions/{functionId}/calls/{callId}/response`."""
        what = f"the response of call {call_id} of function {function_id}"
        decode = partial(schemas.decode_one, record=CallResponse)
        return self._ask("GET", f"/functions/{function_id}/calls/{call_id}/response", what, decode).response

    def list_functions(self) -> Page[Function]:
        """List all functions: `POST /functions/list`, which has no cursor."""
        decode = partial(schemas.decode_page, record=Function)
        return self._ask("POST", "/functions/list", "the functions", decode, body={"limit": LISTING_LIMIT})

    def retrieve_function(self, function_id: int) -> Function:
        """Retrieve one function by its id: `GET /functions/{functionId}`."""
        decode = partial(schemas.decode_one, record=Function)
        return self._ask("GET", f"/functions/{function_id}", f"function {function_id}", decode)

    def functions_by_ids(self, function_ids: Sequence[int]) -> Page[Function]:
        """Retrieve at most 10 functions by their ids: `POST /functions/byids`."""
        body = {"items": [{"id": function_id} for function_id in function_ids], "ignoreUnknownIds": True}
        decode = partial(schemas.decode_page, record=Function)
        return self._ask("POST", "/functions/byids", f"{len(function_ids)} functions", decode, body=body)

    def list_schedules(self) -> Page[Schedule]:
        """List all schedules: `POST /functions/schedules/list`, which has no cursor."""
        decode = partial(schemas.decode_page, record=Schedule)
        return self._ask("POST", "/functions/schedules/list", "the schedules", decode, body={"limit": LISTING_LIMIT})

    def limits(self) -> Limits:
        """Read the limits of the service: `GET /functions/limits`."""
        return self._ask("GET", "/functions/limits", "the limits", partial(schemas.decode_one, record=Limits))

    def activation(self) -> str:
        """Read whether Functions are activated in the project: `GET /functions/status`."""
        answer = self._ask("GET", "/functions/status", "the activation", schemas.decode_any)
        return str(answer.get("status", "unknown")) if isinstance(answer, dict) else "unknown"

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def _ask(
        self,
        method: str,
        path: str,
        what: str,
        decode: Callable[[bytes], Answer],
        *,
        body: Mapping[str, Any] | None = None,
        stop: threading.Event | None = None,
    ) -> Answer:
        """Ask until there is an answer, it is a final no, or the tries are used up."""
        stop = stop or threading.Event()
        tries = dict.fromkeys(("refusals", "breaks", "renewals", "final"), 0)
        while not stop.is_set():
            interrupted = False
            try:
                failure = self._attempt(method, path, what, decode, body)
            except KeyboardInterrupt:  # the variables of the frames in its traceback may hold a body with the token
                interrupted = True
            if interrupted:
                raise KeyboardInterrupt
            if not isinstance(failure, _Failure):
                return failure
            tries[failure.kind] += 1
            if tries[failure.kind] > self._most(failure.kind):
                raise failure.error
            if failure.kind != "renewals":
                stop.wait(self._retry.wait_s(tries[failure.kind], failure.retry_after_s))
        raise StoppedError

    def _most(self, kind: str) -> int:
        return {"refusals": self._retry.refusals, "breaks": self._retry.breaks, "renewals": 1, "final": 0}[kind]

    def _attempt(
        self,
        method: str,
        path: str,
        what: str,
        decode: Callable[[bytes], Answer],
        body: Mapping[str, Any] | None,
    ) -> Answer | _Failure:
        """Ask once. A token that was turned down is renewed, once for all threads."""
        auth = BearerAuth(self._credentials, self.target.base_url)
        headers = self._headers | ({"Content-Type": "application/json"} if body is not None else {})
        content = None if body is None else msgspec.json.encode(body)
        with self.gate.passing() as era:
            try:
                response = self._transport.send(
                    method, self.target.api_url + path, auth=auth, headers=headers, body=content
                )
            except TransportError as error:
                return _Failure("breaks", error)
        if response.status_code == _OK:
            self.gate.calm()
            return _decoded(response, what, auth, decode)
        if response.status_code == _TOO_MANY:
            self.gate.slow_down(era)
        if response.status_code == _UNAUTHORIZED and auth.renew():
            return _Failure("renewals", _refusal(response, what, auth))
        return _refused(response, what, auth)


DECODE_LOCK = threading.Lock()
"""Held while a page is decoded or becomes columns: the first is done, and its next asked for, while others wait."""


@dataclass(frozen=True)
class _Failure:
    """Why one try gave no answer, and which budget of tries it counts against."""

    kind: str
    error: ServiceError | TransportError
    retry_after_s: float | None = None


def _calls(body: bytes) -> Page[Call]:
    with DECODE_LOCK:
        return schemas.decode_page(body, Call)


def _decoded(
    response: requests.Response, what: str, auth: BearerAuth, decode: Callable[[bytes], Answer]
) -> Answer | _Failure:
    """Decode an answer; one cut short on the way may come whole the next time."""
    try:
        return decode(response.content)
    except MalformedBodyError as error:
        trouble = str(error)
    words = response.content.decode("utf-8", "replace")
    if auth.redact(words) != words:
        trouble = "it repeats the token"  # of which the quoted beginning may show a part
    kind = auth.redact(response.headers.get("Content-Type", "no content type"))[:_HEADER_LENGTH]
    hint = " An HTML page comes from a gateway or a sign-in page on the way." if "html" in kind.lower() else ""
    reference, request_id = _reference(response, auth), _request_id(response, auth)
    message = f"The answer of {_host(response)} for {what} cannot be read ({kind}): {trouble}.{hint}{reference}"
    return _Failure("breaks", InvalidResponseError(message, status=response.status_code, request_id=request_id))


def _refused(response: requests.Response, what: str, auth: BearerAuth) -> _Failure:
    """Sort out whether a refusal is worth another try."""
    error = _refusal(response, what, auth)
    if response.status_code in _PASSING or _body(response).get("isAutoRetryable") is True:
        return _Failure("refusals", error, _retry_after_s(response.headers.get("Retry-After")))
    return _Failure("final", error)


def _refusal(response: requests.Response, what: str, auth: BearerAuth) -> ServiceError:
    """Make the error of an answer: what failed, where, the service's words, the way out."""
    status = response.status_code
    detail = _detail(response, auth)
    kind, way_out = _kind(status, _body(response))
    words = f": {detail}" if detail else ""
    message = f"{status} from {_host(response)} while reading {what}{words}{'' if words.endswith('.') else '.'}"
    return kind(
        f"{message} {way_out}{_reference(response, auth)}",
        status=status,
        request_id=_request_id(response, auth),
        detail=detail,
    )


def _kind(status: int, body: Mapping[str, Any]) -> tuple[type[ServiceError], str]:  # noqa: PLR0911 - a table
    """Find the error of a status, and what to do about it."""
    if status == _UNAUTHORIZED:
        return UnauthorizedError, "The token was not accepted: sign in anew, and check that it is for this project."
    if status == _FORBIDDEN:
        return ForbiddenError, (
            "Reading needs the capability functionsAcl:READ in this project; ask its administrator for a group that"
            " has it."
        )
    if status == _NOT_FOUND or (status < _SERVER_ERROR and body.get("missing")):
        return NotFoundError, "Check the id; calls are kept 90 days, and a redeployed function has a new id."
    if status == _TOO_MANY:
        return RateLimitError, "The service is still busy after all tries: try later, or with fewer workers."
    if status >= _SERVER_ERROR:
        return UnavailableError, "The service has a fault: try later, and give Cognite support the request's id."
    if status < 400:  # noqa: PLR2004
        return InvalidResponseError, (
            "Redirects and other answers without the data are not followed, so that the token goes nowhere else: check"
            " the cluster or URL."
        )
    return BadRequestError, "The service did not understand the request."


def _body(response: requests.Response) -> dict[str, Any]:
    """Take the `error` object out of an error's body; gateways send HTML or nothing."""
    try:
        body = schemas.decode_any(response.content)
    except MalformedBodyError:
        return {}
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {"message": error} if isinstance(error, str) else {}


def _detail(response: requests.Response, auth: BearerAuth) -> str:
    """Repeat the service's words without the token, which goes before they are cut: a part of it is secret too."""
    if response.is_redirect:
        location = auth.redact(response.headers["Location"])
        return f"redirected to {urlsplit(location).hostname or 'another path'}"
    body = _body(response)
    message = auth.redact(str(body.get("message") or ""))
    if body.get("missing"):
        message = f"{message} (missing: {auth.redact(str(body['missing']))[:200]})"
    return message.strip()[:500]


def _host(response: requests.Response) -> str:
    return urlsplit(response.url).netloc


def _request_id(response: requests.Response, auth: BearerAuth) -> str | None:
    request_id = response.headers.get("X-Request-ID")
    return auth.redact(request_id)[:_HEADER_LENGTH] if request_id else None


def _reference(response: requests.Response, auth: BearerAuth) -> str:
    request_id = _request_id(response, auth)
    return f" (X-Request-ID: {request_id})" if request_id else ""


def _retry_after_s(value: str | None) -> float | None:
    """Read `Retry-After`, in seconds (fractions too) or as a date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=moment.tzinfo or dt.UTC)  # none, or "-0000", is UTC here
    return max(0.0, (moment - dt.datetime.now(dt.UTC)).total_seconds())
