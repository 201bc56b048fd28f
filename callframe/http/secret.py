"""
A wrapper that never shows the value it holds.

IPython's verbose tracebacks, pytest and error trackers print the local variables of every frame. A function that takes
a secret therefore wraps it in its first statement and reveals it only inside calls that cannot raise.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, overload
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")


class Secret(Generic[T]):
    """Hold a token, a password or anything that contains one, and never show it."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """Return the value, for use only inside a call that cannot raise."""
        return self._value

    def equals(self, other: Secret[T]) -> bool:
        """Compare with another secret without revealing either."""
        return self._value == other._value

    def __repr__(self) -> str:
        return "<secret>"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be pickled or copied, which would spread the secret."""
        raise TypeError("A secret stays in memory: it cannot be pickled or copied. Sign in again where it is needed.")


@overload
def wrap_secret(value: None) -> None: ...
@overload
def wrap_secret(value: Any) -> Secret[Any]: ...
def wrap_secret(value: Any) -> Secret[Any] | None:
    """Wrap a value in a `Secret`, unless it is None or already wrapped."""
    if value is None or isinstance(value, Secret):
        return value
    return Secret(value)


def redact(text: str, secrets: Iterable[Secret[str]]) -> str:
    """Replace secrets in a text with `<secret>`, also where they are URL-encoded or escaped."""
    for secret in secrets:
        bare = secret.reveal()
        variants = {bare, quote(bare, safe="", errors="replace"), quote_plus(bare, errors="replace")}
        for variant in variants | {json.dumps(bare)[1:-1], repr(bare)[1:-1]}:
            text = text.replace(variant, repr(secret)) if variant else text
    return text
