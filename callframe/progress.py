"""Progress bars, shown in terminals and notebooks for work that takes longer than a second."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BAR_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}"


@contextlib.contextmanager
def progress_bar(enabled: bool | None, description: str) -> Iterator[Callable[[float, str], None]]:
    """Show a bar, if None only in terminals and notebooks; yields a function of the fraction done and a text."""
    if enabled is None:
        enabled = sys.stderr.isatty() or "ipykernel" in sys.modules
    if not enabled:
        yield lambda *_: None
        return
    from tqdm.auto import tqdm  # noqa: PLC0415 - slow to import, and not needed without a fetch

    with tqdm(total=100, desc=description, delay=1, miniters=0, bar_format=_BAR_FORMAT) as bar:

        def update(fraction: float, text: str) -> None:
            bar.set_postfix_str(text, refresh=False)  # a refresh would ignore the delay
            bar.update(round(100 * fraction) - bar.n)

        yield update
