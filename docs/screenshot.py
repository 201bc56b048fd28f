"""Take the screenshot of the dashboard that README.md and the pages show: uv run python docs/screenshot.py."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

TOP = Path(__file__).parents[1]
sys.path.insert(0, str(TOP / "tests"))

from chromium import TIMEOUT_MS, launch  # noqa: E402 - found through the line above
from notebook_servers import run_notebook, voila  # noqa: E402

CELLS = (
    "import callframe as cf\nproject = cf.demo()",
    "cf.explore(project, start='14d')",
)
WIDTH, MARGIN = 1280, 6
COLORS = 128  # a palette makes the file a third as large, and the page has few colors


def main() -> None:
    """Run a notebook in Voila, and save what Chromium shows from the toolbar to the plot."""
    with tempfile.TemporaryDirectory() as folder, voila(Path(folder)) as server, launch() as chromium:
        page = chromium.new_page(viewport={"width": WIDTH, "height": 1400})
        run_notebook(page, server, server.add("dashboard.ipynb", *CELLS))
        plot = page.locator(".callframe-explore .callframe-picture img:visible").first
        plot.wait_for(timeout=TIMEOUT_MS)
        page.wait_for_timeout(2_000)  # icons and tables come after the plot
        top, bottom = page.locator(".callframe-toolbar").bounding_box(), plot.bounding_box()
        assert top is not None  # noqa: S101 - both were waited for
        assert bottom is not None  # noqa: S101
        y = top["y"] - MARGIN  # a progress bar of the fetch may be above
        clip = {"x": 0, "y": y, "width": WIDTH, "height": bottom["y"] + bottom["height"] - y}
        png = page.screenshot(clip=clip, animations="disabled", caret="hide")  # type: ignore[arg-type] # a plain dict
    image = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLORS)
    image.save(TOP / "docs" / "dashboard.png", optimize=True)


if __name__ == "__main__":
    main()
