"""What can go wrong between a client and the service, on purpose."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, cast

from callframe.errors import ArgumentError

Kind = Literal["too_many", "unavailable", "reset", "cut", "html"]
KINDS: tuple[Kind, ...] = ("too_many", "unavailable", "reset", "cut", "html")


@dataclass(frozen=True)
class Faults:
    """
    The faults of a service; by default there are none.

    Shares are of all API requests. Which request meets which fault depends on the seed and its number only.

    Parameters
    ----------
    too_many
        Share answered 429.
    unavailable
        Share answered 503.
    reset
        Share whose connection is reset without an answer.
    cut
        Share whose body ends before its announced length.
    html
        Share answered 502 with a gateway's page.
    forbidden
        Ids of functions answered 403.
    retry_after_s
        What `Retry-After` says with a 429; None for no such header.
    expire_cursors_after
        Number of pages after which the cursor of a listing expires, once for each function.
    repeat_cursor
        Whether every page of a listing gives the same cursor again, so that it never ends.
    short_pages
        Whether pages hold fewer calls than asked for, at times none, and go on all the same.
    seed
        Chooses the requests that meet a fault.

    Raises
    ------
    ArgumentError
        A share is not between 0 and 1, or they exceed 1 together.
    """

    too_many: float = 0.0
    unavailable: float = 0.0
    reset: float = 0.0
    cut: float = 0.0
    html: float = 0.0
    forbidden: frozenset[int] = frozenset()
    retry_after_s: float | None = 0.05
    expire_cursors_after: int | None = None
    repeat_cursor: bool = False
    short_pages: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        shares = {kind: self._share(kind) for kind in KINDS}
        if any(not 0 <= share <= 1 for share in shares.values()) or sum(shares.values()) > 1 + 1e-9:
            raise ArgumentError(f"Shares of faults lie between 0 and 1, their sum too: found {shares}.")

    def draw(self, number: int) -> Kind | None:
        """Tell which fault the request of this number meets."""
        chance = random.Random(f"{self.seed}/{number}").random()  # noqa: S311 (repeatable chance is the point)
        for kind in KINDS:
            chance -= self._share(kind)
            if chance < 0:
                return kind
        return None

    def page_size(self, limit: int, number: int) -> int:
        """Tell how many calls the page of the request of this number holds at most."""
        if not self.short_pages:
            return limit
        return random.Random(f"{self.seed}/{number}/page").randint(0, limit)  # noqa: S311

    def _share(self, kind: Kind) -> float:
        return cast("float", getattr(self, kind))
