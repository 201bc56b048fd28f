"""Failures that only the response of a call reports, while the service calls it Completed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from callframe import frame
from callframe.completeness import NO_RESPONSE, Coverage
from callframe.errors import FrameError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CODES = ("statusCode", "status_code")
_ERRORS = ("error", "errorMessage", "error_message", "errorType", "error_type", "exception", "traceback")
_TYPES = ("errorType", "error_type", "exceptionType", "exception_type")
_MESSAGES = ("message", "errorMessage", "error_message")
_OTHER_MESSAGES = ("error", "exception", "detail", "details", "reason")
_TRACES = ("traceback", "trace", "stackTrace", "stack_trace")
_NO_ERROR = frozenset({"", "none", "null", "false", "no", "no error", "ok", "n/a"})
_FAILED = frozenset({"error", "fail", "failed", "failure"})
_FAILING_CODES = range(400, 600)
_MAX_TEXT = 10_000
_KEYS = ["function_id", "call_id"]

_Error: TypeAlias = "tuple[str, str | None]"  # message and trace


def reports_failure(response: Any) -> bool:
    """
    Tell whether a response reports a failure, by its keys.

    A response that is an object reports a failure if `success` is false; or `statusCode` or `status_code` is from 400
    to 599; or, unless `success` is true, `status` is "error", "fail", "failed" or "failure", or one of `error`,
    `errorMessage`, `error_message`, `errorType`, `error_type`, `exception` and `traceback` describes an error. That is
    a text other than "none", "no error" and the like, `true`, or an object or a list with such a text. Numbers are not,
    because an error can be that of a measurement. Anything but an object reports nothing.

    Parameters
    ----------
    response
        Decoded JSON.

    Returns
    -------
    failed
        Whether it reports a failure.

    Examples
    --------
    >>> import callframe as cf
    >>> cf.reports_failure({"success": False, "statusCode": 500, "message": "no data"})
    True
    >>> cf.reports_failure({"error": None, "errors": 0, "rows": 12})
    False
    """
    if not isinstance(response, dict):
        return False
    success = response.get("success")
    if success is False or (isinstance(success, str) and success.strip().casefold() == "false"):
        return True
    if any(_is_failing_code(response.get(name)) for name in _CODES):
        return True
    if success is True:
        return False
    status = response.get("status")
    return (isinstance(status, str) and status.strip().casefold() in _FAILED) or any(
        _describes_error(response.get(name)) for name in _ERRORS
    )


def with_responses(
    calls: pd.DataFrame,
    responses: pd.DataFrame | None = None,
    *,
    reports_failure: Callable[[Any], bool] | None = None,
) -> pd.DataFrame:
    """
    Count calls as failed whose response reports a failure although the service calls them Completed.

    Such a call has the status "Error response", and the error that its response names. That is a failure in every
    measure, plot, table and report, and its duration counts like that of a Failed call.

    Parameters
    ----------
    calls
        Call frame.
    responses
        Frame of responses, as `Project.responses` returns it. By default the responses that `calls` already has, to
        judge them by another rule.
    reports_failure
        Function that tells from a response, as decoded JSON, whether the call failed; by default
        `callframe.reports_failure`.

    Returns
    -------
    calls
        The same calls in the same order, with the columns `response` (JSON text) and `route` of a function app, missing
        where they are not known. The coverage lists calls whose responses could not be read.

    Raises
    ------
    FrameError
        `calls` is not a call frame, or `responses` is not a frame of responses.

    Examples
    --------
    >>> import callframe as cf
    >>> with cf.demo(calls=1_000) as project:
    ...     calls = project.calls(start="14d")
    ...     calls = cf.with_responses(calls, project.responses(calls))
    >>> bool((calls["status"] == "Error response").any())
    True
    """
    frame.check(calls)
    result = calls.assign(**_known_responses(calls, responses))
    is_response = (result["status"] == frame.ERROR_RESPONSE).to_numpy()
    rows = np.flatnonzero((is_response | (result["status"] == "Completed")) & result["response"].notna())
    errors = _errors(result["response"].take(rows), reports_failure or _RULE)
    failed = np.array([error is not None for error in errors], dtype=bool)
    changed = failed | is_response[rows]
    replaced = [error or (None, None) for error, is_changed in zip(errors, changed, strict=True) if is_changed]
    for position, name in enumerate(("error_message", "error_trace")):
        texts = result[name].array.copy()
        texts[rows[changed]] = frame.text_column([texts[position] for texts in replaced]).array
        result[name] = texts
    result["status"] = _judged_status(result["status"], rows, failed)
    result.attrs = dict(calls.attrs)
    if responses is not None and (coverage := Coverage.of(calls)):
        coverage.with_reasons(NO_RESPONSE, _unread(result, responses)).attach(result)
    return result


_RULE = reports_failure


def _known_responses(calls: pd.DataFrame, responses: pd.DataFrame | None) -> dict[str, Any]:
    """Find the response and the route of each call: the new one, else the one that the frame has."""
    names = list(frame.RESPONSE_COLUMNS)
    present = calls.reindex(columns=names).astype(frame.TEXT).reset_index(drop=True)
    if responses is None:
        if "response" not in calls:
            raise FrameError("The calls have no responses yet; give those that project.responses(calls) returns.")
        return {name: present[name].array for name in names}
    missing = [name for name in (*_KEYS, "response") if name not in responses]
    if missing:
        raise FrameError(
            f"Not a frame of responses: missing the columns {', '.join(missing)}. Expected the result of"
            " project.responses(calls)."
        )
    last = responses.reindex(columns=[*_KEYS, *names]).drop_duplicates(_KEYS, keep="last")
    found = calls[_KEYS].merge(last, how="left", on=_KEYS)[names].astype(frame.TEXT)
    return {name: found[name].where(found[name].notna(), present[name]).array for name in names}


def _errors(texts: pd.Series, rule: Callable[[Any], bool]) -> list[_Error | None]:
    """Find the message and trace of each response that reports a failure; equal responses are judged once."""
    codes, unique = pd.factorize(texts)
    errors = []
    for text in unique.tolist():
        try:
            response = json.loads(text)
            errors.append(_describe(response) if rule(response) else None)
        except json.JSONDecodeError as error:
            raise FrameError(f"A response is not JSON: {text[:60]!r}: {error}.") from None
        except RecursionError:  # nested too deeply to be judged
            errors.append(None)
    return [errors[code] for code in codes.tolist()]


def _judged_status(status: pd.Series, rows: np.ndarray, failed: np.ndarray) -> pd.Series:
    """Make the statuses of judged calls Completed or Error response, and leave the others."""
    judged = np.where(failed, frame.ERROR_RESPONSE, "Completed")
    categories = frame.status_categories([*status.cat.categories, *judged.tolist()])
    status = status.astype(pd.CategoricalDtype(pd.Series(categories, dtype=frame.TEXT)))
    status.iloc[rows] = judged  # type: ignore[call-overload] # the stubs expect another categorical
    return status


def _unread(calls: pd.DataFrame, responses: pd.DataFrame) -> dict[int, str]:
    """Find the functions of which some responses, but not all, are known: by function id."""
    ended = calls["status"].isin(["Completed", frame.ERROR_RESPONSE])
    ended &= calls["function_id"].isin(responses["function_id"])
    counts = calls[ended]["response"].isna().groupby(calls["function_id"][ended]).agg(["sum", "size"])
    return {
        function_id: f"{NO_RESPONSE} of {unread:,} of {size:,} calls that the service calls Completed"
        for function_id, unread, size in zip(counts.index.tolist(), counts["sum"], counts["size"], strict=True)
        if unread
    }


def _is_failing_code(code: Any) -> bool:
    if isinstance(code, str) and code.strip().isdecimal():
        code = int(code.strip()[:9])
    return isinstance(code, int) and code in _FAILING_CODES


def _describes_error(error: Any) -> bool:
    if isinstance(error, str):
        return error.strip().casefold() not in _NO_ERROR
    if isinstance(error, dict):
        return any(isinstance(value, str) and _describes_error(value) for value in error.values())
    return error is True or (
        isinstance(error, list) and any(_describes_error(item) for item in error if not isinstance(item, list))
    )


def _describe(response: Any) -> _Error:
    """Write the message of a response that reports a failure, and its traceback if it has one."""
    if not isinstance(response, dict):
        return json.dumps(response, ensure_ascii=False)[:_MAX_TEXT], None
    nested = [value for name in ("error", "details") if isinstance(value := response.get(name), dict)]
    kind = _first_text([response], _TYPES) or _first_text(nested, (*_TYPES, "type", "name"))
    message = (
        _first_text([response], _MESSAGES)
        or _first_text(nested, (*_MESSAGES, "detail", "reason"))
        or _first_text([response], _OTHER_MESSAGES)
    )
    if message is None:
        code = next((response[name] for name in _CODES if _is_failing_code(response.get(name))), None)
        message = None if code is None else f"status code {code}"
    if kind and not (message or "").startswith(kind):
        message = f"{kind}: {message}" if message else kind
    return (message or json.dumps(response, ensure_ascii=False))[:_MAX_TEXT], _first_text([response, *nested], _TRACES)


def _first_text(objects: Sequence[dict[str, Any]], names: Sequence[str]) -> str | None:
    """Find the first text under one of some names; the lines of a list are joined."""
    for value in (one[name] for one in objects for name in names if name in one):
        is_lines = isinstance(value, list) and all(isinstance(line, str) for line in value)
        text = "\n".join(value) if is_lines else value
        if isinstance(text, str) and text.strip():
            return text
    return None
