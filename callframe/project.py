"""What a user holds: a project, names to ids, frames out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import pandas as pd

from callframe import frame, timespan
from callframe.api import catalogue, fetch, schemas
from callframe.api.catalogue import Catalogue
from callframe.api.client import WORKERS, WORKERS_MAX, Client, Retry
from callframe.auth import options
from callframe.completeness import FetchRequest, report_incomplete, warn_about_records
from callframe.errors import ArgumentError, NotFoundError
from callframe.http.transport import TIMEOUT_S, Transport
from callframe.progress import bar

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from callframe.api.fetch import Listing
    from callframe.api.schemas import Schedule
    from callframe.timespan import TimeLike

Answer = TypeVar("Answer")

_RECENT_S = 60


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
    workers: int = WORKERS,
    retry: Retry | None = None,
) -> Project:
    """
    Connect to a project.

    What is not given is looked for in the variables of a CDF-hosted notebook, then in those of the Cognite Toolkit
    (`CDF_CLUSTER`, `CDF_PROJECT`, `LOGIN_FLOW`, `IDP_CLIENT_ID` ...), then in a `.env` of the current folder or its
    parent. Nothing is sent before the first question to the project, but for a login that asks a person.

    Parameters
    ----------
    client
        A `CogniteClient` of the official SDK (version 7 or 8) to take place and credentials from.
    cluster
        Where the project is, such as `"westeurope-1"`.
    project
        Its name.
    base_url
        Where it is, in place of `cluster`.
    token
        A token, or a function that returns one whenever it is asked.
    client_id, client_secret, tenant_id, token_url, scopes, audience
        Client credentials: the application, and where its tokens come from.
    login
        Which way to sign in, where it does not follow from the rest.
    verify
        Whether to check certificates, or a file of those to trust.
    proxies
        Proxy by scheme; by default those of the environment.
    timeout_s
        Seconds to wait for a connection, and for the next bytes of an answer.
    workers
        Requests under way at once, 1 to 10.
    retry
        When to try again, and how long to wait.

    Returns
    -------
    project
        The project.

    Raises
    ------
    ArgumentError
        An argument cannot be right.
    SignInError
        No way to sign in was found; the message lists what was looked for and where.

    Examples
    --------
    >>> import callframe as cf
    >>> project = cf.demo(calls=1_000)  # or cf.connect(), with a project of your own
    >>> calls = project.calls(start="7d")
    >>> project.close()
    """
    token, client_secret = options.wrap_secret(token), options.wrap_secret(client_secret)  # type: ignore[assignment] # before any frame
    if not 1 <= workers <= WORKERS_MAX:
        raise ArgumentError(f"workers={workers!r}; expected 1 to {WORKERS_MAX}, more than that the service throttles.")
    target, credentials = options.find(
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
    transport = Transport(target.base_url, verify=verify, proxies=proxies, timeout_s=timeout_s)
    wire = Client(target, credentials, workers=workers, retry=retry, transport=transport)
    return Project(wire)


class Project:
    """
    A project whose call history can be asked for. Made by `connect`.

    Parameters
    ----------
    client
        What talks to the service.
    clock
        Seconds since 1970-01-01 UTC.
    """

    def __init__(self, client: Client, *, clock: Callable[[], float] = time.time) -> None:
        self.client = client
        self._clock = clock
        self._latest: tuple[float, Catalogue] | None = None
        self._closing: list[Callable[[], None]] = []

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
        """Close all connections, and what was started with the project."""
        self.client.close()
        while self._closing:
            self._closing.pop()()

    def closing(self, callback: Callable[[], None]) -> None:
        """
        Have a function called when the project is closed.

        Parameters
        ----------
        callback
            Takes nothing.
        """
        self._closing.append(callback)

    def now_ms(self) -> int:
        """
        Tell the time.

        Returns
        -------
        now_ms
            Milliseconds since 1970-01-01 UTC.
        """
        return int(self._clock() * 1000)

    def functions(self) -> pd.DataFrame:
        """
        List the functions.

        Returns
        -------
        functions
            One row a function: `function_id` int64, `function` (its label: external id, else name), `name`,
            `external_id`, `owner`, `description`, `status`, `created_time` (when it was deployed), `last_called`,
            `file_id`, `runtime`, `runtime_version`, `cpu` [cores], `memory` [GB], `error_message`, `metadata` (JSON).
        """
        return catalogue.function_frame(self._catalogue())

    def schedules(self) -> pd.DataFrame:
        """
        List the schedules.

        Returns
        -------
        schedules
            One row a schedule: `schedule_id` int64, `name`, `function_id` Int64, `function` (label),
            `function_external_id` (where the schedule names its function that way), `cron_expression` (five fields, in
            UTC), `when` (the same in words), `created_time`, `session_id`, `description`.
        """
        return catalogue.schedule_frame(self._catalogue(), self._schedules())

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
            The function has no such call, or has it no more.
        """
        call_id = catalogue.check_id(call_id, "call id")
        known = self._catalogue_for([function])
        now_ms = self.now_ms()
        record = self._first_found(known, function, lambda one: self.client.retrieve_call(one, call_id))
        calls = frame.from_columns(
            [schemas.to_columns([record])], {record.function_id: known.label(record.function_id)}
        )
        function_id = record.function_id
        read = fetch.Reading(0).coverage(function_id, known.label(function_id), known.created_ms(function_id), 1)
        FetchRequest(now_ms, call_ids=[call_id]).coverage([read], calls, self.name).attach(calls)
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
        progress: bool | None = None,
        stop: threading.Event | None = None,
    ) -> pd.DataFrame:
        """
        Fetch calls, all of them.

        What cannot be read is tried again, then named in the coverage (`callframe.coverage`) and in a warning. Ctrl-C,
        or a notebook's stop button, ends the fetch within a second and gives what was read, as incomplete.

        Parameters
        ----------
        *functions
            Ids, external ids or names; none means every function.
        start
            Start of the window of start times: a timestamp, a date, an ISO 8601 string or an age such as `"7d"` or
            `"36h"`; UTC where it names no time zone. 7 days ago by default. The service keeps 90 days.
        end
            End of the window, excluded; now by default.
        status
            Only calls of this status, or these.
        schedule
            Only calls of this schedule, or these: ids or names.
        call_ids
            Exactly these calls, in place of a window, status and schedule.
        strict
            Raise instead of warn where something could not be read.
        progress
            Whether to show a bar; by default in terminals and notebooks.
        stop
            Ends the fetch as Ctrl-C does when another thread sets it. One event serves one fetch.

        Returns
        -------
        calls
            Call frame, sorted by `start_time`, `call_id`.

        Raises
        ------
        ArgumentError
            An argument cannot be right, or no function is called that.
        IncompleteError
            Something could not be read, and `strict` asked to be told so; carries what was.

        Warns
        -----
        IncompleteWarning
            Something could not be read.
        RecordWarning
            Records broke the API's contract and were set aside, or a status is new.

        Examples
        --------
        >>> import callframe as cf
        >>> with cf.demo(calls=1_000) as project:
        ...     calls = project.calls(start="7d", status=["Failed", "Timeout"])
        >>> sorted(calls["status"].unique())
        ['Failed', 'Timeout']
        """
        wanted = _call_ids(call_ids, start=start, end=end, status=status, schedule=schedule)
        now_ms = self.now_ms()
        stretch = timespan.time_range("7d" if start is None else start, end, now_ms=now_ms)
        statuses = _statuses(status)
        known = self._catalogue_for(functions)
        function_ids = list(dict.fromkeys(one for function in functions for one in known.ids(function)))
        function_ids = function_ids or [function.id for function in known.functions]
        if wanted is not None:
            request = FetchRequest(now_ms, call_ids=wanted)
            listings = fetch.listings_by_ids(function_ids, wanted)
            return self._gather(known, listings, request, strict=strict, progress=progress, stop=stop)
        schedules = [] if schedule is None else known.schedules(self._schedules(), _as_list(schedule))
        request = FetchRequest(now_ms, stretch, statuses, [schedule_id for schedule_id, _ in schedules])
        listings = fetch.listings(
            function_ids, stretch, statuses=_listed(statuses), schedules=schedules, workers=self.client.workers
        )
        return self._gather(known, listings, request, strict=strict, progress=progress, stop=stop)

    def logs(self, function: str | int, call_id: int) -> pd.DataFrame:
        """
        Read what a call printed.

        Parameters
        ----------
        function
            Id, external id or name.
        call_id
            Id of the call.

        Returns
        -------
        log
            One row a printed line, in the order of the service: `timestamp` datetime64[ms, UTC], `message` str.

        Raises
        ------
        NotFoundError
            The function has no such call, or has it no more.
        """
        call_id = catalogue.check_id(call_id, "call id")
        page = self._first_found(
            self._catalogue_for([function]), function, lambda one: self.client.call_log(one, call_id)
        )
        catalogue.warn_about_listing(page, "entries of the log")
        return pd.DataFrame(
            {
                "timestamp": frame.time_column([entry.timestamp for entry in page.items]),
                "message": frame.text_column([entry.message for entry in page.items]),
            }
        )

    def response(self, function: str | int, call_id: int) -> Any:
        """
        Read what a call returned.

        Parameters
        ----------
        function
            Id, external id or name.
        call_id
            Id of the call.

        Returns
        -------
        response
            The JSON value it returned, None where it returned nothing.

        Raises
        ------
        NotFoundError
            The function has no such call, or has it no more.
        """
        call_id = catalogue.check_id(call_id, "call id")
        return self._first_found(
            self._catalogue_for([function]), function, lambda one: self.client.call_response(one, call_id)
        )

    def limits(self) -> dict[str, Any]:
        """
        Read the limits of the service.

        Returns
        -------
        limits
            `timeout_minutes` (the run limit of a call), `cpu_cores`, `memory_gb`, `runtimes`, `response_size_mb`; None
            where the service does not say.
        """
        limits = self.client.limits()
        return {name: getattr(limits, name) for name in limits.__struct_fields__}

    def _catalogue(self) -> Catalogue:
        page = self.client.list_functions()
        catalogue.warn_about_listing(page, "functions")
        known = Catalogue(page.items)
        self._latest = self._clock(), known
        return known

    def _catalogue_for(self, functions: Sequence[str | int]) -> Catalogue:
        """Ask for the catalogue, but not again within a minute where ids say it all and it only gives the labels."""
        if self._latest is not None and functions:
            asked_at, known = self._latest
            is_recent = 0 <= self._clock() - asked_at < _RECENT_S
            if is_recent and all(isinstance(one, int) and one in known.labels for one in functions):
                return known
        return self._catalogue()

    def _schedules(self) -> list[Schedule]:
        page = self.client.list_schedules()
        catalogue.warn_about_listing(page, "schedules")
        return page.items

    def _first_found(self, known: Catalogue, function: str | int, ask: Callable[[int], Answer]) -> Answer:
        """Ask each deployment of a function, the newest first, until one knows."""
        *others, last = known.ids(function)
        for function_id in others:
            with contextlib.suppress(NotFoundError):
                return ask(function_id)
        return ask(last)

    def _gather(
        self,
        known: Catalogue,
        listings: Sequence[Listing],
        request: FetchRequest,
        *,
        strict: bool,
        progress: bool | None,
        stop: threading.Event | None,
    ) -> pd.DataFrame:
        """Read, assemble, and say what is lacking."""
        with bar(progress, "calls") as show:
            readings = fetch.read(
                self.client, listings, report=lambda so_far: show(so_far.share, f"{so_far.rows:,} calls"), stop=stop
            )
        labels = {function_id: known.label(function_id) for function_id in readings}
        tables = [table for reading in readings.values() for table in reading.tables]
        readings_left = {function_id: replace(reading, tables=[]) for function_id, reading in readings.items()}
        del readings
        calls = frame.from_columns(tables, labels, statuses=request.statuses)
        counts = calls["function_id"].value_counts().to_dict()
        functions = [
            reading.coverage(
                function_id, labels[function_id], known.created_ms(function_id), counts.get(function_id, 0)
            )
            for function_id, reading in sorted(readings_left.items(), key=lambda one: labels[one[0]])
        ]
        coverage = request.coverage(functions, calls, self.name)
        coverage.attach(calls)
        warn_about_records(calls, coverage)
        report_incomplete(calls, coverage, strict=strict)
        return calls


def _as_list(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)


def _statuses(wanted: str | Sequence[str] | None) -> list[str]:
    """Read statuses, whatever the case of their letters."""
    names = {status.casefold(): status for status in frame.STATUSES}
    found = []
    for one in [] if wanted is None else _as_list(wanted):
        if not isinstance(one, str) or one.casefold() not in names:
            raise ArgumentError(f"status={one!r} is unknown; expected {', '.join(frame.STATUSES)}, or several of them.")
        found.append(names[one.casefold()])
    return list(dict.fromkeys(found))


def _listed(statuses: list[str]) -> list[str]:
    """
    Choose the statuses to have listed, one listing each; none means all in one.

    A call that ends while its status is asked for is Running in no listing and Completed in none that was read before.
    """
    return [] if "Running" in statuses and len(statuses) > 1 else statuses


def _call_ids(wanted: Iterable[int] | None, **others: object) -> list[int] | None:
    """Read ids of calls, each once; they say all there is to say, so nothing else may."""
    if wanted is None:
        return None
    if given := [name for name, value in others.items() if value is not None]:
        raise ArgumentError(
            f"call_ids asks for exactly these calls; leave out {', '.join(given)}, or filter the frame."
        )
    return list(dict.fromkeys(catalogue.check_id(one, "call id") for one in _as_list(wanted)))
