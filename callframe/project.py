"""Connecting to a project, and the project itself."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import pandas as pd

from callframe import frame, timespan
from callframe.api import fetch, listing, schemas
from callframe.api.catalogue import (
    Catalogue,
    as_list,
    check_id,
    concerning,
    function_frame,
    left_out_of,
    parse_call_ids,
    parse_statuses,
    read_catalogue,
    schedule_frame,
    warn_about_listing,
)
from callframe.api.client import DEFAULT_WORKERS, MAX_WORKERS, Client
from callframe.api.fetch_output import OutputReader, lines_with, log_frame, report
from callframe.api.workers import stop_on_interrupt
from callframe.auth.options import ConnectionOptions, resolve_connection
from callframe.completeness import FetchRequest, FunctionCoverage, report_incomplete, warn_about_records
from callframe.errors import ArgumentError, ClockWarning, NotFoundError, warn
from callframe.formatting import format_duration
from callframe.http.clock import ServiceClock
from callframe.http.secret import wrap_secret
from callframe.http.transport import DEADLINE_S, MAX_BODY_MB, TIMEOUT_S, StoppedError, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from callframe.api.listing import Query
    from callframe.api.schemas import Schedule
    from callframe.http.retry import Retry
    from callframe.timespan import TimeLike

T = TypeVar("T")

_CATALOGUE_MAX_AGE_S = 60
_MAX_TIME_REQUESTS = 3
_MAX_SILENT_SKEW_MS = 5_000


def connect(
    *,
    client: Any = None,
    cluster: str | None = None,
    project: str | None = None,
    base_url: str | None = None,
    token: str | Callable[[], str] | None = None,
    client_id: str | None = None,
    client_secret: str | None = None,
    tenant_id: str | None = None,
    token_url: str | None = None,
    scopes: str | Sequence[str] | None = None,
    audience: str | None = None,
    login: Literal["client_credentials", "token", "device_code", "interactive"] | None = None,
    verify: bool | str | None = None,
    proxies: Mapping[str, str] | None = None,
    timeout_s: tuple[float, float] = TIMEOUT_S,
    deadline_s: float = DEADLINE_S,
    max_body_mb: float = MAX_BODY_MB,
    workers: int = DEFAULT_WORKERS,
    retry: Retry | None = None,
) -> Project:
    """
    Connect to a project.

    Other settings are read from the environment variables of a CDF-hosted notebook, then from those of the Cognite
    Toolkit (`CDF_CLUSTER`, `CDF_PROJECT`, `LOGIN_FLOW`, `IDP_CLIENT_ID` ...), then from a `.env` file in the current
    folder or its parent. No request is sent before the first use of the project, except by an interactive login.

    The clock of the service, measured by the dates of its responses, decides what "now" and ages mean.

    Parameters
    ----------
    client
        A `CogniteClient` of the official SDK (version 7 or 8), whose cluster, project and credentials to use.
    cluster
        Cluster of the project, such as `"westeurope-1"`.
    project
        Name of the project.
    base_url
        Base URL, instead of `cluster`.
    token
        A token, or a function that returns one.
    client_id, client_secret, tenant_id, token_url, scopes, audience
        Client credentials, and where to request tokens with them.
    login
        Login flow, if it does not follow from the other settings.
    verify
        Whether to verify TLS certificates, or a file of certificates to trust. By default that of `REQUESTS_CA_BUNDLE`,
        `CURL_CA_BUNDLE` or `SSL_CERT_FILE`, else the certificates of the system beside those of certifi.
    proxies
        Proxy by scheme; by default those of the environment.
    timeout_s
        Seconds to wait for a connection, and for the next bytes of a response.
    deadline_s
        Seconds in which a response must be complete, whatever arrives of it until then.
    max_body_mb
        Largest size of a response in megabytes, after decompression.
    workers
        Maximum number of concurrent requests, 1 to 10.
    retry
        Retry policy.

    Returns
    -------
    project
        The project.

    Raises
    ------
    ArgumentError
        Invalid argument.
    AuthenticationError
        No credentials were found; the message lists what was looked for and where. Or a variable or a `.env` file names
        where to send a secret that comes from elsewhere.

    Examples
    --------
    >>> import callframe as cf
    >>> project = cf.demo(calls=1_000)  # or cf.connect(), with a project of your own
    >>> calls = project.calls(start="7d")
    >>> project.close()
    """
    client, token, client_secret, proxies = map(wrap_secret, (client, token, client_secret, proxies))
    if not 1 <= workers <= MAX_WORKERS:
        raise ArgumentError(f"workers={workers!r}; expected 1 to {MAX_WORKERS}, the service throttles more requests.")
    options = ConnectionOptions.from_arguments(
        client=client,
        cluster=cluster,
        project=project,
        base_url=base_url,
        token=token,
        client_id=client_id,
        client_secret=client_secret,
        tenant_id=tenant_id,
        token_url=token_url,
        scopes=scopes,
        audience=audience,
        login=login,
        verify=verify,
        proxies=proxies,
    )
    target, credentials = resolve_connection(options)
    limits = {"deadline_s": deadline_s, "max_body_mb": max_body_mb}
    transport = Transport(target.base_url, verify=verify, proxies=proxies, timeout_s=timeout_s, **limits)
    return Project(Client(target, credentials, workers=workers, retry=retry, transport=transport))


class Project:
    """
    A project and the call history of its functions. Use `connect` to make one.

    Parameters
    ----------
    client
        Client of the API.
    clock
        Function that returns the local time, in seconds since 1970-01-01 UTC; by default the clock of this computer.
    """

    def __init__(self, client: Client, *, clock: Callable[[], float] | None = None) -> None:
        self.client = client
        if clock is not None:
            client.clock = ServiceClock(clock)
        self._has_warned_of_clock = False
        self._cached_catalogue: tuple[float, Catalogue] | None = None
        self._close_callbacks: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return f"<Project {self.name!r} at {self.client.target.base_url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """Name of the project."""
        return self.client.target.project

    def close(self) -> None:
        """Close all connections and call the functions registered with `on_close`."""
        self.client.close()
        while self._close_callbacks:
            self._close_callbacks.pop()()

    def on_close(self, callback: Callable[[], None]) -> None:
        """
        Register a function to call when the project is closed.

        Parameters
        ----------
        callback
            Function without parameters.
        """
        self._close_callbacks.append(callback)

    def now_ms(self) -> int:
        """
        Return the current time of the service.

        It is measured by the `Date` header of each response; if none was received yet, a request is sent. If the
        responses have no such header, it is the time of this computer.

        Returns
        -------
        now_ms
            Milliseconds since 1970-01-01 UTC.

        Warns
        -----
        ClockWarning
            The clock of this computer differs from the service's by more than 5 seconds; once for each project.
        """
        clock = self.client.clock
        for _ in range(_MAX_TIME_REQUESTS):
            if clock.needs_response:
                self._fetch_catalogue()
        skew_ms = clock.skew_ms or 0
        if abs(skew_ms) > _MAX_SILENT_SKEW_MS and not self._has_warned_of_clock:
            self._has_warned_of_clock = True
            ahead_or_behind = "ahead of" if skew_ms > 0 else "behind"
            warn(
                f"The clock of this computer is {format_duration(pd.Timedelta(abs(skew_ms), 'ms'))} {ahead_or_behind}"
                " that of the service, which is used instead. Set the clock of this computer.",
                ClockWarning,
            )
        return clock.now_ms()

    def functions(self) -> pd.DataFrame:
        """
        List the functions.

        Returns
        -------
        functions
            One row per function: `function_id` int64, `function` (its label: external id, else name), `family`
            ("function", or "app" of function apps), `name`, `external_id`, `owner`, `description`, `status`,
            `created_time` (when it was deployed), `last_called`, `file_id`, `runtime`, `runtime_version`, `cpu`
            [cores], `memory` [GB], `error_message`, `metadata` (JSON). `attrs["function_apps"]` is "read", or why
            function apps are not among them.
        """
        catalogue = self._fetch_catalogue()
        functions = function_frame(catalogue)
        functions.attrs["function_apps"] = catalogue.app_listing
        return functions

    def schedules(self) -> pd.DataFrame:
        """
        List the schedules.

        Returns
        -------
        schedules
            One row per schedule: `schedule_id` int64, `name`, `function_id` Int64, `function` (label),
            `function_external_id` (of schedules that refer to their function by external id), `cron_expression` (five
            fields, in UTC), `when` (the same in words), `created_time`, `session_id`, `description`.
        """
        return schedule_frame(self._fetch_catalogue(), self._fetch_schedules()[0])

    def call(self, function: str | int, call_id: int) -> pd.DataFrame:
        """
        Retrieve a call by its id.

        Parameters
        ----------
        function
            Id, external id or name.
        call_id
            Id of the call.

        Returns
        -------
        calls
            Call frame of one row.

        Raises
        ------
        NotFoundError
            The function has no such call, or the service no longer keeps it.
        """
        call_id = check_id(call_id, "call id")
        catalogue = self._catalogue_for([function])
        request = FetchRequest(self.now_ms(), call_ids=[call_id], clock_skew_ms=self.client.clock.skew_ms)
        record = _first_found(self.client.retrieve_call, catalogue.find_functions(function), call_id)
        function_id, label = record.function_id, catalogue.label(record.function_id)
        calls = frame.from_columns([schemas.to_columns([record])], {function_id: label})
        function_coverage = FunctionCoverage(function_id, label, calls=1, created_ms=catalogue.created_ms(function_id))
        request.coverage([function_coverage], calls, self.name).attach(calls)
        return calls

    def calls(
        self,
        *functions: str | int,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        status: str | Sequence[str] | None = None,
        schedule: str | int | Sequence[str | int] | None = None,
        call_ids: Iterable[int] | None = None,
        strict: bool = False,
        progress: bool | Callable[[float, str], None] | None = None,
        stop: threading.Event | None = None,
    ) -> pd.DataFrame:
        """
        Fetch calls.

        What cannot be read, after retries, is listed in the coverage (`callframe.coverage`) and in a warning. Ctrl-C,
        or the stop button of a notebook, ends the fetch within a second and returns what was read, as incomplete.

        Parameters
        ----------
        *functions
            Ids, external ids or names; by default all functions.
        start
            Earliest start time: a timestamp, a date, an ISO 8601 string or an age such as `"7d"` or `"36h"`, in UTC
            unless it has a time zone. 7 days ago by default. The service keeps calls for 90 days.
        end
            End of the start times, excluded; by default now, by the service's clock, as for ages.
        status
            Only calls of this status, or these. Here and below, an empty list selects no calls.
        schedule
            Only calls of this schedule, or these: ids or names.
        call_ids
            Ids of the calls to fetch, instead of a time range, status and schedule.
        strict
            Raise an error instead of a warning if something could not be read.
        progress
            Whether to show a progress bar, by default in terminals and notebooks; or a function to call with the
            fraction that is done and a text.
        stop
            Event that another thread can set to end the fetch like Ctrl-C. Use a new event for each fetch.

        Returns
        -------
        calls
            Call frame, sorted by `start_time`, `call_id`.

        Raises
        ------
        ArgumentError
            Invalid argument or unknown function.
        IncompleteError
            Something could not be read, and `strict` is true; contains the calls that were read.

        Warns
        -----
        IncompleteWarning
            Something could not be read.
        RecordWarning
            Invalid records were set aside, or a status is unknown.
        ClockWarning
            The clock of this computer is wrong; the service's is used instead.

        Examples
        --------
        >>> import callframe as cf
        >>> with cf.demo(calls=1_000) as project:
        ...     calls = project.calls(start="7d", status=["Failed", "Timeout"])
        >>> sorted(calls["status"].unique())
        ['Failed', 'Timeout']
        """
        status = None if status is None else as_list(status)
        schedule = None if schedule is None else as_list(schedule)
        ids = parse_call_ids(call_ids, start=start, end=end, status=status, schedule=schedule)
        statuses = parse_statuses(status)
        stop = stop or threading.Event()
        try:
            catalogue = self._catalogue_for(functions, stop)
            listed, broken = ([], []) if schedule is None else self._fetch_schedules(stop)
        except StoppedError:
            left_out = [FunctionCoverage(0, "functions", (fetch.INTERRUPTED,))]
            catalogue, functions, schedule = Catalogue([], left_out=left_out), (), None
        left_out = concerning(catalogue.left_out, functions)
        now_ms = self.client.clock.now_ms() if stop.is_set() else self.now_ms()
        skew_ms = self.client.clock.skew_ms
        window = timespan.time_range("7d" if start is None else start, end, now_ms=now_ms)
        function_ids = [function_id for function in functions for function_id in catalogue.find_functions(function)]
        function_ids = list(dict.fromkeys(function_ids)) or [function.id for function in catalogue.functions]
        if ids is not None:
            request = FetchRequest(now_ms, call_ids=ids, clock_skew_ms=skew_ms)
            queries = listing.plan_queries_by_ids(function_ids, ids, catalogue.sources)
        else:
            schedules = []
            if schedule is not None:
                schedules = catalogue.find_schedules(listed, schedule)
                left_out += concerning(broken, schedule)
            schedule_ids = [schedule_id for schedule_id, _ in schedules]
            request = FetchRequest(now_ms, window, statuses, schedule_ids, clock_skew_ms=skew_ms)
            queries = listing.plan_queries(
                function_ids,
                window,
                statuses=_statuses_to_query(statuses),
                schedules=schedules,
                workers=self.client.workers,
                created_ms={function.id: function.created_time for function in catalogue.functions},
                sources=catalogue.sources,
            )
        with stop_on_interrupt(stop):  # until there is a frame, or a second Ctrl-C would lose what was read
            return self._fetch_calls(catalogue, queries, request, left_out, strict=strict, progress=progress, stop=stop)

    def logs(
        self,
        function: str | int | pd.DataFrame,
        call_id: int | None = None,
        *,
        contains: str | None = None,
        strict: bool = False,
        progress: bool | None = None,
        stop: threading.Event | None = None,
    ) -> pd.DataFrame:
        """
        Read the log of a call, or the logs of many calls.

        The API has one request per log, so select the calls first. Ctrl-C, or the stop button of a notebook, ends the
        reading within a second and returns what was read. If five requests in a row fail for a function, for example
        because they are forbidden, its other logs are not asked for.

        Parameters
        ----------
        function
            Call frame; or id, external id or name of the function of one call.
        call_id
            Id of the one call.
        contains
            Only lines that contain this text, in upper or lower case. The others are not kept in memory.
        strict, progress, stop
            As in `calls`, for a call frame.

        Returns
        -------
        log
            One row per line, in the order of the service: `timestamp` datetime64[ms, UTC], `message` str. Of a call
            frame in the order of its calls, and first `call_id`, `function_id` int64, `function` category; `attrs` hold
            the coverage (`callframe.coverage`), which lists what could not be read.

        Raises
        ------
        ArgumentError
            A call id with a call frame, or none with a function.
        NotFoundError
            The function has no such call, or the service no longer keeps it.
        IncompleteError
            Logs of a call frame could not be read, and `strict` is true; contains what was read.

        Warns
        -----
        IncompleteWarning
            Logs of a call frame could not be read.
        RecordWarning
            Invalid lines were left out.

        Examples
        --------
        >>> import callframe as cf
        >>> with cf.demo(calls=1_000) as project:
        ...     calls = project.calls(start="7d")
        ...     lines = project.logs(calls[calls["status"] == "Failed"], contains="timeout")
        >>> list(lines.columns)
        ['call_id', 'function_id', 'function', 'timestamp', 'message']
        """
        if isinstance(function, pd.DataFrame):
            if call_id is not None:
                raise ArgumentError(f"call_id={call_id!r} with a call frame; select its call instead.")
            stop = stop or threading.Event()
            with stop_on_interrupt(stop):
                reader = self._output_reader(function, stop, progress)
                return report(reader.logs(function, contains), strict=strict)
        if call_id is None:
            raise ArgumentError("logs() takes a call frame, or a function and the id of a call.")
        call_id = check_id(call_id, "call id")
        function_ids = self._catalogue_for([function]).find_functions(function)
        page = _first_found(self.client.call_log, function_ids, call_id)
        warn_about_listing(page, "entries of the log")
        return log_frame(lines_with(contains, page.items))

    def response(self, function: str | int, call_id: int) -> Any:
        """
        Read the response of a call.

        Parameters
        ----------
        function
            Id, external id or name.
        call_id
            Id of the call.

        Returns
        -------
        response
            JSON value that the call returned, None if it returned nothing.

        Raises
        ------
        NotFoundError
            The function has no such call, or the service no longer keeps it.
        """
        call_id = check_id(call_id, "call id")
        function_ids = self._catalogue_for([function]).find_functions(function)
        return _first_found(self.client.call_response, function_ids, call_id).response

    def responses(
        self,
        calls: pd.DataFrame,
        *,
        strict: bool = False,
        progress: bool | None = None,
        stop: threading.Event | None = None,
    ) -> pd.DataFrame:
        """
        Read the responses of many calls, for `callframe.with_responses`.

        The API has one request per response, so select the calls first. Running, Failed and Timeout calls have no
        response and are not asked for. Ctrl-C, or the stop button of a notebook, ends the reading within a second and
        returns what was read. If five requests in a row fail for a function, for example because they are forbidden,
        its other responses are not asked for.

        Parameters
        ----------
        calls
            Call frame.
        strict, progress, stop
            As in `calls`.

        Returns
        -------
        responses
            One row per call, in the order of `calls`: `call_id`, `function_id` int64, `function` category, `response`
            str, the JSON text (`null` if the call returned nothing), `response_error` str, why it could not be read,
            and `route` str of a function app, such as `GET /pumps`, missing where it is not known. Its `attrs` hold the
            coverage (`callframe.coverage`).

        Raises
        ------
        FrameError
            `calls` is not a call frame.
        IncompleteError
            A response could not be read, and `strict` is true; contains what was read.

        Warns
        -----
        IncompleteWarning
            A response could not be read.

        Examples
        --------
        >>> import callframe as cf
        >>> with cf.demo(calls=1_000) as project:
        ...     calls = project.calls(start="14d")
        ...     calls = cf.with_responses(calls, project.responses(calls))
        >>> bool((calls["status"] == "Error response").any())
        True
        """
        stop = stop or threading.Event()
        with stop_on_interrupt(stop):
            return report(self._output_reader(calls, stop, progress).responses(calls), strict=strict)

    def limits(self) -> dict[str, Any]:
        """
        Read the limits of the service.

        Returns
        -------
        limits
            `timeout_minutes` (longest duration of a call), `cpu_cores`, `memory_gb`, `runtimes`, `response_size_mb`; a
            limit that the service does not return is None.
        """
        limits = self.client.limits()
        return {name: getattr(limits, name) for name in limits.__struct_fields__}

    def _output_reader(self, calls: pd.DataFrame, stop: threading.Event, progress: bool | None) -> OutputReader:
        """Make a reader of what calls left; the client must know which of their functions are apps."""
        frame.check(calls)
        if len(calls):
            self._catalogue_for(calls["function_id"].unique().tolist())
        return OutputReader(self.client, stop, progress)

    def _fetch_catalogue(self, stop: threading.Event | None = None) -> Catalogue:
        catalogue = read_catalogue(self.client, stop)
        for notice in catalogue.notices:
            warn(*notice)
        self._cached_catalogue = self.client.clock.local(), catalogue
        return catalogue

    def _catalogue_for(self, functions: Sequence[str | int], stop: threading.Event | None = None) -> Catalogue:
        """Return the functions, for a minute from the cache if only the labels of known ids are needed."""
        if self._cached_catalogue is not None and functions:
            fetched_s, catalogue = self._cached_catalogue
            is_recent = 0 <= self.client.clock.local() - fetched_s < _CATALOGUE_MAX_AGE_S
            if is_recent and all(isinstance(function, int) and function in catalogue.labels for function in functions):
                return catalogue
        return self._fetch_catalogue(stop)

    def _fetch_schedules(self, stop: threading.Event | None = None) -> tuple[list[Schedule], list[FunctionCoverage]]:
        """Read the schedules, and what their listing lacks."""
        page = self.client.list_schedules(stop=stop)
        warn_about_listing(page, "schedules")
        return page.items, left_out_of(page, "schedules")

    def _fetch_calls(
        self,
        catalogue: Catalogue,
        queries: Sequence[Query],
        request: FetchRequest,
        left_out: Sequence[FunctionCoverage],
        *,
        strict: bool,
        progress: bool | Callable[[float, str], None] | None,
        stop: threading.Event,
    ) -> pd.DataFrame:
        """Run queries and make a call frame with its coverage; warn of what is missing or invalid."""
        with fetch.progress_bar(progress, "calls") as show:
            results = fetch.run_queries(
                self.client, queries, report=lambda done: show(done.fraction, done.text), stop=stop
            )
        labels = {function_id: catalogue.label(function_id) for function_id in results}
        tables = [table for result in results.values() for table in result.tables]
        calls = frame.from_columns(tables, labels, statuses=request.statuses)
        counts = calls["function_id"].value_counts().to_dict()
        functions = [
            results[function_id].coverage(
                function_id, labels[function_id], catalogue.created_ms(function_id), counts.get(function_id, 0)
            )
            for function_id in sorted(results, key=lambda function_id: labels[function_id])
        ]
        coverage = request.coverage([*functions, *left_out], calls, self.name)
        coverage.attach(calls)
        warn_about_records(calls, coverage)
        report_incomplete(calls, coverage, strict=strict)
        return calls


def _first_found(request: Callable[[int, int], T], function_ids: Sequence[int], call_id: int) -> T:
    """Request a call from each deployment of a function until one has it."""
    for function_id in function_ids[:-1]:
        with contextlib.suppress(NotFoundError):
            return request(function_id, call_id)
    return request(function_ids[-1], call_id)


def _statuses_to_query(statuses: Sequence[str]) -> Sequence[str]:
    """Choose the statuses to query one by one; none means all in one query."""
    # In separate queries, a call that ends in between could be missed: no longer running, and not yet completed.
    return [] if "Running" in statuses and len(statuses) > 1 else statuses
