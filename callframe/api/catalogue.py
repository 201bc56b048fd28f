"""Which functions and schedules a project has: names to ids, ids to labels."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from callframe import frame
from callframe.api.client import LISTING_LIMIT
from callframe.api.schemas import CallError
from callframe.errors import ArgumentError, IncompleteWarning, RecordWarning, warn
from callframe.frame import MAX_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from callframe.api.schemas import Function, Page, Schedule


class Catalogue:
    """
    The functions of a project, by whatever users call them.

    A function is labelled by its external id, else its name. Two ids with one external id are one function before and
    after a redeploy and share the label; two functions that merely share a name do not, their labels carry the id.

    Parameters
    ----------
    functions
        As the service lists them.
    """

    def __init__(self, functions: Sequence[Function]) -> None:
        self.functions = sorted(functions, key=lambda function: function.created_time or 0)
        self.labels = _labels(self.functions)

    def label(self, function_id: int) -> str:
        """Label a function; one that is not listed is labelled by its id."""
        if function_id in self.labels:
            return self.labels[function_id]
        label = str(function_id)
        while label in self.labels.values():
            label = f"{label} ({function_id})"
        return label

    def created_ms(self, function_id: int) -> int | None:
        """Tell when a function was deployed, None where that is not known."""
        return next((function.created_time for function in self.functions if function.id == function_id), None)

    def ids(self, wanted: str | int) -> list[int]:
        """
        Find the ids of a function.

        Parameters
        ----------
        wanted
            An id, an external id, a name or a label; an id need not be listed.

        Returns
        -------
        function_ids
            The newest deployment first. Several where a redeploy gave a new id, or where functions share the name.

        Raises
        ------
        ArgumentError
            It is none of them; the message names the nearest.
        """
        if not isinstance(wanted, str):
            if not _is_whole(wanted):
                raise ArgumentError(
                    f"A function is named by its id, external id or name; found {wanted!r} of type"
                    f" {type(wanted).__name__}."
                )
            return [check_id(wanted, "function id")]
        found = self._named(wanted)
        if not found and wanted.isascii() and wanted.isdigit():
            return [check_id(int(wanted), "function id")]
        if not found:
            raise ArgumentError(self._unknown(wanted))
        return found

    def schedules(self, listed: Sequence[Schedule], wanted: Sequence[str | int]) -> list[tuple[int, int | None]]:
        """
        Find schedules and the functions they start.

        Parameters
        ----------
        listed
            As the service lists them.
        wanted
            Ids or names; an id need not be listed.

        Returns
        -------
        schedules
            Id of the schedule and id of its function, None where that is not known. A name may be that of several.

        Raises
        ------
        ArgumentError
            No schedule is called that; the message names the nearest.
        """
        owners = {schedule.id: owner(self, schedule) for schedule in listed}
        found: dict[int, int | None] = {}
        for one in wanted:
            ids = [schedule.id for schedule in listed if schedule.name == one]
            if not ids and isinstance(one, str) and not (one.isascii() and one.isdigit()):
                near = did_you_mean(one, {schedule.name for schedule in listed if schedule.name})
                raise ArgumentError(f"No schedule is called {one!r}.{near} project.schedules() shows them.")
            for schedule_id in ids or [check_id(int(one), "schedule id")]:
                found[schedule_id] = owners.get(schedule_id)
        return list(found.items())

    def _named(self, wanted: str) -> list[int]:
        """Look among external ids first, then labels, then names."""
        newest_first = self.functions[::-1]
        return (
            [function.id for function in newest_first if function.external_id == wanted]
            or [function.id for function in newest_first if self.labels[function.id] == wanted]
            or [function.id for function in newest_first if function.name == wanted]
        )

    def _unknown(self, wanted: str) -> str:
        names = {*self.labels.values(), *(function.name for function in self.functions if function.name)}
        known = f"The project has {len(self.functions)} functions" if names else "The project lists no functions"
        return (
            f"No function is called {wanted!r}.{did_you_mean(wanted, names)} {known}; project.functions() shows them."
        )


def check_id(value: int, name: str) -> int:
    """
    Make sure that an id can be one.

    Parameters
    ----------
    value
        Id.
    name
        What it is called, for the message.

    Returns
    -------
    id
        The same, as an `int`.

    Raises
    ------
    ArgumentError
        It is no whole number from 1 to 2**53 - 1.
    """
    if not _is_whole(value):
        raise ArgumentError(f"The {name} {value!r} is of type {type(value).__name__}; expected a whole number.")
    if not 1 <= (number := int(value)) <= MAX_ID:
        raise ArgumentError(f"The {name} {number} is out of range; ids go from 1 to {MAX_ID}.")
    return number


def _is_whole(value: object) -> bool:
    """Take NumPy's integers too, which a column of a frame holds."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def function_frame(catalogue: Catalogue) -> pd.DataFrame:
    """
    Show the functions of a project.

    Parameters
    ----------
    catalogue
        The functions.

    Returns
    -------
    functions
        One row a function, by label and time of deployment.
    """
    functions = sorted(catalogue.functions, key=lambda one: (catalogue.label(one.id), one.created_time or 0))
    return pd.DataFrame(
        {
            "function_id": _ids(function.id for function in functions),
            "function": frame.text_column([catalogue.label(function.id) for function in functions]),
            "name": frame.text_column([function.name for function in functions]),
            "external_id": frame.text_column([function.external_id for function in functions]),
            "owner": frame.text_column([function.owner for function in functions]),
            "description": frame.text_column([function.description for function in functions]),
            "status": frame.text_column([function.status for function in functions]),
            "created_time": frame.time_column([function.created_time for function in functions]),
            "last_called": frame.time_column([function.last_called for function in functions]),
            "file_id": pd.Series([function.file_id for function in functions], dtype="Int64"),
            "runtime": frame.text_column([function.runtime for function in functions]),
            "runtime_version": frame.text_column([function.runtime_version for function in functions]),
            "cpu": pd.Series([function.cpu for function in functions], dtype="float64"),
            "memory": pd.Series([function.memory for function in functions], dtype="float64"),
            "error_message": frame.text_column([_message(function.error) for function in functions]),
            "metadata": frame.text_column([_json(function.metadata) for function in functions]),
        }
    )


def schedule_frame(catalogue: Catalogue, schedules: Sequence[Schedule]) -> pd.DataFrame:
    """
    Show the schedules of a project.

    Parameters
    ----------
    catalogue
        The functions.
    schedules
        As the service lists them.

    Returns
    -------
    schedules
        One row a schedule, by function and time of creation. A schedule that names its function by external id alone
        has the id of the newest deployment.
    """
    owners = {schedule.id: owner(catalogue, schedule) for schedule in schedules}
    schedules = sorted(
        schedules, key=lambda one: (_function_label(catalogue, one, owners), one.created_time or 0, one.id)
    )
    return pd.DataFrame(
        {
            "schedule_id": _ids(schedule.id for schedule in schedules),
            "name": frame.text_column([schedule.name for schedule in schedules]),
            "function_id": pd.Series([owners[schedule.id] for schedule in schedules], dtype="Int64"),
            "function": frame.text_column([_function_label(catalogue, one, owners) or None for one in schedules]),
            "function_external_id": frame.text_column([schedule.function_external_id for schedule in schedules]),
            "cron_expression": frame.text_column([schedule.cron_expression for schedule in schedules]),
            "when": frame.text_column([schedule.when for schedule in schedules]),
            "created_time": frame.time_column([schedule.created_time for schedule in schedules]),
            "session_id": pd.Series([schedule.session_id for schedule in schedules], dtype="Int64"),
            "description": frame.text_column([schedule.description for schedule in schedules]),
        }
    )


def owner(catalogue: Catalogue, schedule: Schedule) -> int | None:
    """
    Find the function a schedule starts.

    Parameters
    ----------
    catalogue
        The functions.
    schedule
        Names its function by id, or by external id.

    Returns
    -------
    function_id
        None where it names no function that is listed.
    """
    if schedule.function_id is not None:
        return schedule.function_id
    named = [one.id for one in catalogue.functions if one.external_id == schedule.function_external_id]
    return named[-1] if named and schedule.function_external_id else None


def _labels(functions: Sequence[Function]) -> dict[int, str]:
    """Label functions; names and external ids that would make two functions look like one get the id added."""
    plain = {function.id: function.external_id or function.name or str(function.id) for function in functions}
    identities = {function.id: function.external_id or function.id for function in functions}
    shared = Counter(label for label, _ in {(plain[one], identity) for one, identity in identities.items()})
    external = {function.external_id for function in functions if function.external_id}
    ids = {str(function.id) for function in functions}

    def is_its_own(function: Function, label: str) -> bool:
        if function.external_id == label:
            return True
        wanted_by_others = shared[label] - (label == plain[function.id])
        return not wanted_by_others and label not in external and (label not in ids or label == str(function.id))

    def label(function: Function) -> str:
        found = plain[function.id]
        while not is_its_own(function, found):
            found = f"{found} ({function.id})"
        return found

    return {function.id: label(function) for function in functions}


def _function_label(catalogue: Catalogue, schedule: Schedule, owners: dict[int, int | None]) -> str:
    function_id = owners[schedule.id]
    return catalogue.label(function_id) if function_id is not None else schedule.function_external_id or ""


def _ids(values: Iterable[int]) -> pd.Series:
    return pd.Series(list(values), dtype="int64")


def _message(error: CallError | str | None) -> str | None:
    return error.message if isinstance(error, CallError) else error


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)


def did_you_mean(wanted: str, names: set[str]) -> str:
    """Ask whether one of the nearest names was meant; nothing where none is near."""
    folded = {name.casefold(): name for name in sorted(names)}
    near = [folded[key] for key in difflib.get_close_matches(wanted.casefold(), folded, n=3, cutoff=0.5)]
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def warn_about_listing(page: Page[Any], what: str) -> None:
    """Warn about what a listing misses: invalid records, or all that lies beyond its limit."""
    if page.set_aside:
        warn(
            f"{len(page.set_aside)} {what} violate the API's contract and were left out: {page.set_aside[0].reason}.",
            RecordWarning,
        )
    if len(page.items) + len(page.set_aside) == LISTING_LIMIT:
        warn(
            f"The service listed {LISTING_LIMIT} {what}, exactly as many as were requested: there may be more, and this"
            " listing has no next page.",
            IncompleteWarning,
        )
