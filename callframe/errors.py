"""
The exceptions and warnings of callframe.

::

    CallframeError
    ├── ArgumentError (ValueError)        an argument is invalid
    ├── FrameError (ValueError)           a frame is not a call frame
    ├── FileError (OSError)               a file cannot be read or written
    │   └── FileFormatError (ValueError)  a file does not have the expected content
    ├── AuthenticationError               no credentials, or the identity provider rejected them
    ├── TransportError (ConnectionError)  no response: DNS, TLS, timeout or a broken connection
    ├── ServiceError                      a response that is an error or cannot be used
    │   ├── UnauthorizedError             401: the token was rejected
    │   ├── ForbiddenError                403: a capability is missing
    │   ├── NotFoundError (LookupError)   404, or 400 that names a missing resource
    │   ├── BadRequestError               any other 4xx
    │   ├── RateLimitError                429 after all retries
    │   ├── UnavailableError              5xx after all retries
    │   └── InvalidResponseError          not JSON, or JSON with an unexpected structure
    └── IncompleteError                   some data could not be read, with strict=True

    IncompleteWarning (UserWarning)       some data could not be read
    ClockWarning (UserWarning)            the local clock is wrong
    RecordWarning (UserWarning)           invalid records, or values unknown to callframe
"""

from __future__ import annotations

import inspect
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def printable(text: str) -> str:
    """Replace control characters except line ends and tabs by U+FFFD: a terminal would obey them."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text)


class CallframeError(Exception):
    """Base class of all errors that callframe raises deliberately."""

    def __str__(self) -> str:
        """Return the message without control characters, since it may quote the service."""
        return printable(super().__str__())


class ArgumentError(CallframeError, ValueError):
    """An argument is invalid."""


class FrameError(CallframeError, ValueError):
    """A frame is not a call frame."""


class FileError(CallframeError, OSError):
    """A file cannot be read or written."""


class FileFormatError(FileError, ValueError):
    """A file does not have the expected content."""


class AuthenticationError(CallframeError):
    """No credentials were found, or the identity provider rejected them."""


class TransportError(CallframeError, ConnectionError):
    """No response was received: DNS, TLS, timeout or a broken connection."""


class ServiceError(CallframeError):
    """
    The response is an error or cannot be used.

    Parameters
    ----------
    message
        What failed, where, and what to do next.
    status
        HTTP status of the response.
    request_id
        `X-Request-ID` of the response, which Cognite support asks for.
    detail
        The error message of the service.
    """

    def __init__(self, message: str, *, status: int, request_id: str | None = None, detail: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id
        self.detail = detail

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle all fields; `Exception` itself pickles the message only."""
        rebuild = partial(type(self), str(self), status=self.status, request_id=self.request_id, detail=self.detail)
        return (rebuild, ())


class UnauthorizedError(ServiceError):
    """401: the token was rejected."""


class ForbiddenError(ServiceError):
    """403: a capability is missing."""


class NotFoundError(ServiceError, LookupError):
    """404, or 400 that names a missing resource."""


class BadRequestError(ServiceError):
    """Any other 4xx."""


class RateLimitError(ServiceError):
    """429 after all retries."""


class UnavailableError(ServiceError):
    """5xx after all retries."""


class InvalidResponseError(ServiceError):
    """The response is not JSON, or JSON with an unexpected structure."""


class IncompleteError(CallframeError):
    """
    Some data could not be read, and `strict=True` was given.

    Parameters
    ----------
    message
        What could not be read, and why.
    calls
        Call frame of the calls that were read, with its coverage.
    """

    def __init__(self, message: str, calls: pd.DataFrame) -> None:
        super().__init__(message)
        self.calls = calls

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the frame too; `Exception` itself pickles the message only."""
        return (type(self), (str(self), self.calls))


class IncompleteWarning(UserWarning):
    """Some data could not be read; `callframe.coverage` lists it."""


class ClockWarning(UserWarning):
    """The local clock differs from the service's, which is used instead."""


class RecordWarning(UserWarning):
    """Records are invalid, or hold values unknown to callframe."""


_PACKAGE = str(Path(__file__).parent)


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the first line outside callframe, as pandas does: the line that a user can change."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(printable(message), category, stacklevel=level)
