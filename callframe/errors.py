"""
The errors callframe raises, one tree under one root.

::

    CallframeError
    ├── ArgumentError (ValueError)        an argument that cannot be right
    ├── FrameError (ValueError)           a frame that is not a call frame
    ├── FileError (OSError)               a file that could not be written or read
    │   └── FileFormatError (ValueError)  a file that was read and is not what it should be
    ├── SignInError                       no way to sign in was found, or the identity provider said no
    ├── TransportError (ConnectionError)  no answer: DNS, TLS, time-out, broken connection
    ├── ServiceError                      an answer that is not the one asked for
    │   ├── UnauthorizedError             401: the token was not accepted
    │   ├── ForbiddenError                403: a capability is missing
    │   ├── NotFoundError (LookupError)   404, or 400 naming what is missing
    │   ├── BadRequestError               any other 4xx
    │   ├── RateLimitError                429, still after all retries
    │   ├── UnavailableError              5xx, still after all retries
    │   └── UnexpectedAnswerError         not JSON, or JSON of another shape
    └── IncompleteError                   strict=True, and something could not be read; carries what was

    IncompleteWarning (UserWarning)       something could not be read; `callframe.coverage` says what
    RecordWarning (UserWarning)           records that break the API's contract, or values new to callframe
"""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


class CallframeError(Exception):
    """Everything callframe raises on purpose."""


class ArgumentError(CallframeError, ValueError):
    """An argument that cannot be right."""


class FrameError(CallframeError, ValueError):
    """A frame that is not a call frame."""


class FileError(CallframeError, OSError):
    """A file that could not be written or read."""


class FileFormatError(FileError, ValueError):
    """A file that was read and is not what it should be."""


class AuthenticationError(CallframeError):
    """No way to sign in was found, or the identity provider said no."""


class TransportError(CallframeError, ConnectionError):
    """No answer: the name was not found, TLS failed, it took too long or the connection broke."""


class ServiceError(CallframeError):
    """
    The service answered, and not with what was asked for.

    Parameters
    ----------
    message
        What failed, where, and what to do next.
    status
        HTTP status of the answer.
    request_id
        `X-Request-ID` of the answer, which Cognite support asks for.
    detail
        The service's own words.
    """

    def __init__(self, message: str, *, status: int, request_id: str | None = None, detail: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id
        self.detail = detail

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with its fields, which `Exception` alone would forget."""
        return (_rebuild, (type(self), str(self), self.status, self.request_id, self.detail))


def _rebuild(kind: type[ServiceError], message: str, status: int, request_id: str | None, detail: str) -> ServiceError:
    return kind(message, status=status, request_id=request_id, detail=detail)


class UnauthorizedError(ServiceError):
    """401: the token was not accepted."""


class ForbiddenError(ServiceError):
    """403: a capability is missing."""


class NotFoundError(ServiceError, LookupError):
    """404, or 400 naming what is missing."""


class BadRequestError(ServiceError):
    """Any other 4xx."""


class RateLimitError(ServiceError):
    """429, still after all retries."""


class UnavailableError(ServiceError):
    """5xx, still after all retries."""


class InvalidResponseError(ServiceError):
    """An answer that is not JSON, or JSON of another shape."""


class IncompleteError(CallframeError):
    """
    Something could not be read, and `strict=True` asked to be told so by an error.

    Parameters
    ----------
    message
        What could not be read, and why.
    calls
        The call frame of what was read, its coverage included.
    """

    calls: pd.DataFrame

    def __init__(self, message: str, calls: pd.DataFrame) -> None:
        super().__init__(message)
        self.calls = calls

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with the frame, which `Exception` alone would forget."""
        return (type(self), (str(self), self.calls))


class IncompleteWarning(UserWarning):
    """Something could not be read; `callframe.coverage` says what."""


class RecordWarning(UserWarning):
    """Records that break the API's contract, or values new to callframe."""


_PACKAGE = str(Path(__file__).parent)


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the first line outside callframe, as pandas does: the line that a user can change."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
