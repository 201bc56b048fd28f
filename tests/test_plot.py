"""Pictures are drawn of whatever calls there are, and of none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import pytest
from builders import frame_of, record

from callframe import frame, plot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd
    from matplotlib.axes import Axes


@pytest.fixture(autouse=True)
def figures_are_closed() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.mark.parametrize("picture", [plot.durations, plot.schedule_delays, plot.failures])
@pytest.mark.parametrize(
    "calls",
    [frame.empty(), frame_of(record(status="Failed")), frame_of(record(status="Running", end_time=None))],
    ids=["none", "failed", "running"],
)
def test_calls_of_which_none_completed_are_drawn(picture: Callable[..., Axes], calls: pd.DataFrame) -> None:
    ax = picture(calls)
    plt.gcf().canvas.draw()
    assert ax.get_title(loc="left")
