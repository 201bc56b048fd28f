"""The options of an object store, which may hold secrets, and show nothing of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callframe.http.secret import Secret, redact

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECRET = ("secret", "key", "token", "password", "sas", "signature", "credential")
_SHORTEST = 6  # what is shorter stands in other words too


class StorageOptions:
    """
    Options of an object store. They can be pickled, as workers of Dask need them.

    Parameters
    ----------
    given
        As `deltalake` takes them.
    """

    def __init__(self, given: Mapping[str, str] | StorageOptions | None) -> None:
        self._given: dict[str, str] = given.reveal() if isinstance(given, StorageOptions) else dict(given or {})

    def __repr__(self) -> str:
        """Show that something is there, not what."""
        return f"<{len(self._given)} storage options>"

    def reveal(self) -> dict[str, str]:
        """Give them; only for calls whose errors go through `redacted`."""
        return dict(self._given)

    def redacted(self, words: str) -> str:
        """Take what may be a secret out of a text."""
        hidden = [Secret(value) for name, value in self._given.items() if _may_be_secret(name, value)]
        return redact(words, hidden)


def _may_be_secret(name: str, value: str) -> bool:
    return len(value) >= _SHORTEST and any(part in name.lower() for part in _SECRET)
