"""A bar for work that takes longer than a second, where somebody looks."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BAR_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}"


@contextlib.contextmanager
def bar(wanted: bool | None, what: str) -> Iterator[Callable[[float, str], None]]:
    """
    Show how far work is.

    Parameters
    ----------
    wanted
        Whether to; by default in terminals and notebooks.
    what
        What is worked on.

    Yields
    ------
    show
        Takes the share that is done, 0 to 1, and words to stand beside it.
    """
    watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    if not (watched if wanted is None else wanted):
        yield lambda *_: None
        return
    from tqdm.auto import tqdm  # noqa: PLC0415 - slow to import, and most imports of callframe never fetch

    with tqdm(total=100, desc=what, delay=1, miniters=0, bar_format=_BAR_FORMAT) as line:

        def show(share: float, words: str) -> None:
            line.set_postfix_str(words, refresh=False)  # which would not wait for the delay
            line.update(round(100 * share) - line.n)

        yield show
