"""
One object that holds a secret and shows nothing of it.

IPython's verbose tracebacks, pytest and error trackers print the local variables of every frame. So a secret is wrapped
by the first statement of whatever takes it, and revealed only inside calls that cannot raise.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, overload
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")


class Secret(Generic[T]):
    """
    Hold a value and show nothing of it.

    Parameters
    ----------
    value
        What must not be seen: a token, a password, or something that contains one.
    """

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """
        Give the value; only for calls that cannot raise.

        Returns
        -------
        value
            The bare secret.
        """
        return self._value

    def equals(self, other: Secret[T]) -> bool:
        """
        Compare two secrets without revealing either.

        Parameters
        ----------
        other
            The other secret.

        Returns
        -------
        equal
            Whether both hold the same value.
        """
        return self._value == other._value

    def __repr__(self) -> str:
        """Show that something is there, not what."""
        return "<secret>"

    def __format__(self, spec: str) -> str:
        """Show as little inside an f-string, whatever the format asked for."""
        return repr(self)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be pickled or copied, since both would spread the secret."""
        raise TypeError("A secret stays in memory: it cannot be pickled or copied. Sign in again where it is needed.")


@overload
def wrap_secret(value: None) -> None: ...
@overload
def wrap_secret(value: Any) -> Secret[Any]: ...
def wrap_secret(value: Any) -> Secret[Any] | None:
    """
    Wrap a value unless it is wrapped already or there is none.

    Parameters
    ----------
    value
        A secret, bare or wrapped, or None.

    Returns
    -------
    secret
        The wrapped value, or None.
    """
    if value is None or isinstance(value, Secret):
        return value
    return Secret(value)


def redact(words: str, hidden: Iterable[Secret[str]]) -> str:
    """
    Take secrets out of a text, in the spellings in which a service may quote them.

    Parameters
    ----------
    words
        What somebody else has written.
    hidden
        What must not be repeated of it.

    Returns
    -------
    words
        The text with `<secret>` in their place.
    """
    for secret in hidden:
        bare = secret.reveal()
        spellings = {bare, quote(bare, safe="", errors="replace"), quote_plus(bare, errors="replace")}
        for spelling in spellings | {json.dumps(bare)[1:-1], repr(bare)[1:-1]}:
            words = words.replace(spelling, repr(secret)) if spelling else words
    return words
