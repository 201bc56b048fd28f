"""The functions and schedules of a project, found by id or name, labelled and listed as frames."""

from __future__ import annotations

import difflib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sized
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from callframe import frame
from callframe.api.client import APPS, LISTING_LIMIT
from callframe.api.schemas import CallError, Function, FunctionApp, Page
from callframe.api.workers import Workers
from callframe.completeness import FunctionCoverage
from callframe.errors import (
    ArgumentError,
    CallframeError,
    ForbiddenError,
    IncompleteWarning,
    RateLimitError,
    RecordWarning,
    ServiceError,
    UnauthorizedError,
    warn,
)
from callframe.frame import MAX_ID, STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from callframe.api.client import Client
    from callframe.api.schemas import Schedule

    Notice = tuple[str, type[Warning]]

GRACE_S = 5.0
"""How long to wait for the function apps once the functions have been listed."""

_OTHERS = "others"
_CLASSIC = "classic"


class Catalogue:
    """
    The functions of a project.

    A function is labelled by its external id, else by its name. Deployments with the same external id are the same
    function and share the label; functions that only share a name do not, and their labels contain the id.

    `apps` are function apps, some of which may be among the functions too. `left_out` stands for what the listings
    lack, see `left_out_of`, `notices` are warnings, and `app_listing` is "read" or why function apps were not.
    """

    def __init__(
        self,
        functions: Sequence[Function],
        apps: Sequence[Function] = (),
        *,
        left_out: Sequence[FunctionCoverage] = (),
        notices: Sequence[Notice] = (),
        app_listing: str = "not read",
    ) -> None:
        by_id = {function.id: function for function in (*apps, *functions)}
        self.functions = sorted(by_id.values(), key=lambda function: function.created_time or 0)
        self.labels = _labels(self.functions)
        self.left_out, self.notices, self.app_listing = left_out, notices, app_listing
        self._classic_ids = {function.id for function in functions}
        named = {app.id: app.external_id for app in apps if app.external_id and app.external_id.strip(".")}
        self.apps = {app_id: self._function_app(external_id) for app_id, external_id in named.items()}

    def _function_app(self, external_id: str) -> FunctionApp:
        ids = (function.id for function in self.functions if function.external_id == external_id)
        return FunctionApp(external_id, frozenset(ids))

    def sources(self, function_id: int) -> list[FunctionApp | None]:
        """List by what to ask for the calls of a function: by itself (None), by its function app, or by both."""
        app = self.apps.get(function_id)
        return [None] if app is None else [app, None] if function_id in self._classic_ids else [app]

    def label(self, function_id: int) -> str:
        """Return the label of a function; its id if it is not listed."""
        if function_id in self.labels:
            return self.labels[function_id]
        label = str(function_id)
        while label in self.labels.values():
            label = f"{label} ({function_id})"
        return label

    def created_ms(self, function_id: int) -> int | None:
        """Return when a function was deployed, None if unknown."""
        return next((function.created_time for function in self.functions if function.id == function_id), None)

    def find_functions(self, value: str | int) -> list[int]:
        """Find the ids of a function by id, external id, label or name, the newest deployment first."""
        newest_first = self.functions[::-1]
        names = (
            {function.id: function.external_id for function in newest_first},
            {function.id: self.labels[function.id] for function in newest_first},
            {function.id: function.name for function in newest_first},
        )
        hint = "The project has no functions."
        if reasons := [one.reasons[0] for one in self.left_out if one.function == value]:
            hint = f"One of that name was listed, but {reasons[0]}."
        elif names[0]:
            hint = f"The project has {len(names[0])} functions; project.functions() lists them."
        return find_function_ids(value, names, hint=hint)

    def find_schedules(
        self, schedules: Sequence[Schedule], wanted: Iterable[str | int]
    ) -> list[tuple[int, int | None]]:
        """Find schedules by id or name; returns their ids and those of their functions, None if unknown."""
        function_ids = {schedule.id: self.function_of(schedule) for schedule in schedules}
        names, hint = {schedule.id: schedule.name for schedule in schedules}, "project.schedules() lists them."
        ids = [schedule_id for value in wanted for schedule_id in find_schedule_ids(value, names, hint=hint)]
        return [(schedule_id, function_ids.get(schedule_id)) for schedule_id in dict.fromkeys(ids)]

    def function_of(self, schedule: Schedule) -> int | None:
        """Return the id of the function of a schedule; of an external id, that of the newest deployment."""
        if schedule.function_id is not None or not schedule.function_external_id:
            return schedule.function_id
        ids = [function.id for function in self.functions if function.external_id == schedule.function_external_id]
        return ids[-1] if ids else None


class AppListing(NamedTuple):
    """The function apps; `outcome` says whether they were read, `notice` is a warning, `failed` if it may yet work."""

    page: Page[Function]
    outcome: str = "read"
    notice: str | None = None
    failed: bool = False


def list_functions_and_apps(client: Client, stop: threading.Event | None = None) -> tuple[Page[Function], AppListing]:
    """
    List functions and function apps at the same time.

    Function apps must not delay or break the listing of functions: a service that refuses to list them is not asked
    again, and one that does not answer is waited for briefly.
    """
    if client.app_refusal is not None:
        return client.list_functions(stop=stop), AppListing(Page([]), client.app_refusal)
    stop_apps = threading.Event()

    def list_apps(client: Client) -> Iterator[AppListing]:
        try:
            yield AppListing(client.list_function_apps(stop=stop_apps))
        except ServiceError as error:
            yield _refused(client, error) if _is_refusal(error) else _failed(str(error))
        except Exception as error:  # noqa: BLE001 - without a result, the caller would wait in vain
            yield _failed(str(error) if isinstance(error, CallframeError) else repr(error))

    with Workers(1, list_apps, stop_apps) as workers:
        if client.workers > 1:
            workers.submit(client)
        functions, give_up_s = client.list_functions(stop=stop), time.monotonic() + GRACE_S
        if client.workers == 1:
            workers.submit(client)
        while time.monotonic() < give_up_s and not (stop and stop.is_set()):
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


def read_catalogue(client: Client, stop: threading.Event | None = None) -> Catalogue:
    """Read the functions and function apps of a project; the client learns which functions are apps."""
    functions, listing = list_functions_and_apps(client, stop)
    left_out = [*left_out_of(functions, "functions"), *left_out_of(listing.page, "function apps")]
    if listing.failed:
        left_out.append(FunctionCoverage(0, "function apps", (listing.outcome,)))
    classic_ids = {function.id for function in functions.items}
    apps = [app for app in listing.page.items if app.function_type != _CLASSIC or app.id not in classic_ids]
    left_out += [
        FunctionCoverage(0, app.name or str(app.id), ("it is a function app without an external id to ask for",))
        for app in apps
        if not app.external_id and app.id not in classic_ids
    ]
    notices = [*_notices(functions, "functions"), *_notices(listing.page, "function apps")]
    notices += [(listing.notice, IncompleteWarning)] if listing.notice else []
    catalogue = Catalogue(functions.items, apps, left_out=left_out, notices=notices, app_listing=listing.outcome)
    client.apps = catalogue.apps
    return catalogue


def function_frame(catalogue: Catalogue) -> pd.DataFrame:
    """Make the frame of `Project.functions`, sorted by label and time of deployment."""
    functions = sorted(
        catalogue.functions, key=lambda function: (catalogue.label(function.id), function.created_time or 0)
    )
    errors = (function.error for function in functions)
    error_messages = [error.message if isinstance(error, CallError) else error for error in errors]
    metadata = [
        None if function.metadata is None else json.dumps(function.metadata, ensure_ascii=False, sort_keys=True)
        for function in functions
    ]
    return pd.DataFrame(
        {
            "function_id": pd.Series([function.id for function in functions], dtype="int64"),
            "function": frame.text_column([catalogue.label(function.id) for function in functions]),
            "family": frame.text_column(["app" if one.id in catalogue.apps else "function" for one in functions]),
            **_columns(functions, name="text", external_id="text", owner="text", description="text", status="text"),
            **_columns(functions, created_time="time", last_called="time", file_id="Int64"),
            **_columns(functions, runtime="text", runtime_version="text", cpu="float64", memory="float64"),
            "error_message": frame.text_column(error_messages),
            "metadata": frame.text_column(metadata),
        }
    )


def schedule_frame(catalogue: Catalogue, schedules: Sequence[Schedule]) -> pd.DataFrame:
    """Make the frame of `Project.schedules`, sorted by function and time of creation."""

    def label(schedule: Schedule) -> str | None:
        function_id = catalogue.function_of(schedule)
        return schedule.function_external_id if function_id is None else catalogue.label(function_id)

    schedules = sorted(schedules, key=lambda schedule: (label(schedule) or "", schedule.created_time or 0, schedule.id))
    function_ids = [catalogue.function_of(schedule) for schedule in schedules]
    return pd.DataFrame(
        {
            "schedule_id": pd.Series([schedule.id for schedule in schedules], dtype="int64"),
            **_columns(schedules, name="text"),
            "function_id": pd.Series(function_ids, dtype="Int64"),
            "function": frame.text_column([label(schedule) or None for schedule in schedules]),
            **_columns(schedules, function_external_id="text", cron_expression="text", when="text"),
            **_columns(schedules, created_time="time", session_id="Int64", description="text"),
        }
    )


def warn_about_listing(page: Page[Any], description: str) -> None:
    """Warn if records of a listing are invalid or have invalid fields, or if there may be more than its limit."""
    for notice in _notices(page, description):
        warn(*notice)


def _notices(page: Page[Any], description: str) -> Iterator[Notice]:
    if page.set_aside:
        reason = page.set_aside[0].reason
        count = f"{len(page.set_aside)} {description}"
        yield f"{count} violate the API's contract and were left out: {reason}.", RecordWarning
    if page.repaired:
        first, count = page.repaired[0], f"{len(page.repaired)} fields of {description}"
        where = f"the first of {first.name or first.record_id}: {first.reason}"
        yield f"{count} violate the API's contract and count as missing, {where}.", RecordWarning
    if truncation := _truncation(page, description):
        yield f"There may be more: {truncation}.", IncompleteWarning


def left_out_of(page: Page[Any], description: str) -> list[FunctionCoverage]:
    """List the records that a listing of functions or schedules lacks, as coverage of functions without an id (0)."""
    reasons = [(one.name or _OTHERS, f"its record was left out: {one.reason}") for one in page.set_aside]
    if reason := _truncation(page, description):
        reasons.append((_OTHERS, reason))
    return [FunctionCoverage(0, name, (reason,)) for name, reason in reasons]


def concerning(left_out: Iterable[FunctionCoverage], wanted: Sequence[str | int]) -> list[FunctionCoverage]:
    """Choose what may be missing from what was asked for by ids and names; nothing means all."""
    names = [value for value in wanted if isinstance(value, str) and not _is_number(value)]
    return [one for one in left_out if not wanted or (names and one.function in {_OTHERS, *names})]


def _truncation(page: Page[Any], description: str) -> str | None:
    """Return why a listing may not be complete, None if it is."""
    if page.next_cursor is not None:
        return f"the listing of {description} did not end: a page could not be read, or too many had nothing new"
    if len(page.items) + len(page.set_aside) == LISTING_LIMIT:
        return f"the service listed {LISTING_LIMIT} {description}, exactly as many as were requested, and no next page"
    return None


def find_function_ids(value: str | int, names: Sequence[Mapping[Any, str | None]], *, hint: str) -> list[int]:
    """
    Find functions by id or name.

    `names` maps function ids to names; the first mapping that contains the name is used. A name of digits takes
    precedence over an id, and an id need not be in `names`. `hint` ends the error message.
    """
    if not isinstance(value, str):
        if not _is_integer(value):
            raise ArgumentError(
                f"A function is given by its id, external id or name; found {value!r} of type {type(value).__name__}."
            )
        return [check_id(value, "function id")]
    for name_by_id in names:
        if ids := [function_id for function_id, name in name_by_id.items() if name == value]:
            return ids
    if _is_number(value):
        return [check_id(int(value), "function id")]
    suggestion = did_you_mean(value, (name for name_by_id in names for name in name_by_id.values()))
    raise ArgumentError(f"No function is named {value!r}.{suggestion} {hint}")


def find_schedule_ids(value: str | int, names: Mapping[Any, str | None], *, hint: str) -> list[int]:
    """Find schedules by id or name, from names by schedule id; an id need not be among them."""
    if ids := [schedule_id for schedule_id, name in names.items() if name == value]:
        return ids
    if isinstance(value, str) and not _is_number(value):
        raise ArgumentError(f"No schedule is named {value!r}.{did_you_mean(value, names.values())} {hint}")
    return [check_id(int(value) if isinstance(value, str) else value, "schedule id")]


def parse_statuses(statuses: str | Iterable[str] | None, known: Sequence[str] = STATUSES) -> tuple[str, ...]:
    """Parse one or several statuses, ignoring case; None means all and gives none."""
    by_name = {status.casefold(): status for status in known}
    parsed = []
    for status in [] if statuses is None else as_list(statuses):
        if not isinstance(status, str) or status.casefold() not in by_name:
            raise ArgumentError(f"Unknown status={status!r}; expected one or several of {', '.join(known)}.")
        parsed.append(by_name[status.casefold()])
    return tuple(dict.fromkeys(parsed))


def parse_call_ids(call_ids: Iterable[int] | None, **other_arguments: object) -> list[int] | None:
    """Parse ids of calls without duplicates; they exclude all other arguments, of which an empty list selects none."""
    if call_ids is None:
        values = [
            value for value in other_arguments.values() if isinstance(value, Sized) and not isinstance(value, str)
        ]
        return None if all(map(len, values)) else []
    if given := [name for name, value in other_arguments.items() if value is not None]:
        raise ArgumentError(f"call_ids cannot be combined with {', '.join(given)}; filter the frame instead.")
    return list(dict.fromkeys(check_id(call_id, "call id") for call_id in as_list(call_ids)))


def check_id(value: int, name: str) -> int:
    """Return an id as an `int`, or raise `ArgumentError` if it is not one; `name` is for the message."""
    if not _is_integer(value):
        raise ArgumentError(f"The {name} {value!r} is of type {type(value).__name__}; expected an integer.")
    if not 1 <= (number := int(value)) <= MAX_ID:
        raise ArgumentError(f"The {name} {number} is out of range; ids go from 1 to {MAX_ID}.")
    return number


def as_list(value: Any) -> list[Any]:
    """Return a list of the items of an iterable, or of the single value."""
    return [value] if isinstance(value, str | bytes) or not isinstance(value, Iterable) else list(value)


def did_you_mean(value: str, names: Iterable[str | None]) -> str:
    """Suggest the most similar names in a sentence, empty if none is similar."""
    by_casefold = {name.casefold(): name for name in sorted({name for name in names if isinstance(name, str)})}
    similar = difflib.get_close_matches(value.casefold(), by_casefold, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(by_casefold[name]) for name in similar)}?" if similar else ""


def _is_integer(value: object) -> bool:
    """Accept the integers of NumPy too, which columns of a frame contain."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _labels(functions: Sequence[Function]) -> dict[int, str]:
    """Label functions; the id is added to a label that would be shared by different functions."""
    base = {function.id: function.external_id or function.name or str(function.id) for function in functions}
    pairs = {(base[function.id], function.external_id or function.id) for function in functions}
    counts = Counter(label for label, _ in pairs)
    external_ids = {function.external_id for function in functions if function.external_id}
    ids = {str(function.id) for function in functions}

    def is_taken(label: str, function: Function) -> bool:
        if function.external_id == label:
            return False
        other_functions = counts[label] - (label == base[function.id])
        return other_functions > 0 or label in external_ids or (label in ids and label != str(function.id))

    def unique_label(function: Function) -> str:
        label = base[function.id]
        while is_taken(label, function):
            label = f"{label} ({function.id})"
        return label

    return {function.id: unique_label(function) for function in functions}


def _columns(records: Sequence[Function | Schedule], **dtypes: str) -> dict[str, pd.Series]:
    """Make columns from fields of records; a dtype is "text", "time" or one of pandas."""
    columns = {}
    for name, dtype in dtypes.items():
        values = [getattr(record, name) for record in records]
        if dtype == "text":
            columns[name] = frame.text_column(values)
        else:
            columns[name] = frame.time_column(values) if dtype == "time" else pd.Series(values, dtype=dtype)
    return columns
