"""The README's picture of the demo's panel: `python docs/panel.py` runs the demo and writes docs/panel.svg anew."""

from __future__ import annotations

import io
import re
import tempfile
import time
from pathlib import Path

from rich.console import Console

from stream_worker.config import load_settings
from stream_worker.demo.panel import draw
from stream_worker.demo.scene import Picture, Scene
from stream_worker.demo.session import Session, demo_settings
from stream_worker.demo.shop import FIRST_CUSTOMER, ShopConfig

_SECONDS, _TAKEN_AT = 60.0, 52.0  # after the change of taste at half of the time, and the worker's recovery from it
_COLUMNS = 100


def picture() -> Picture:
    """Run the demo until the moment of the picture."""
    scene = Scene(FIRST_CUSTOMER)
    with tempfile.TemporaryDirectory() as folder:
        shop = ShopConfig(change_after_seconds=_SECONDS / 2)
        session = Session(demo_settings(load_settings(None, {}), Path(folder)), shop, _SECONDS, scene)
        session.start()
        taken = scene.picture()
        while session.running() and taken.seconds < _TAKEN_AT:
            time.sleep(0.1)
            taken = scene.picture()
        session.stop()
    return taken


def svg(taken: Picture) -> str:
    """Draw the panel as an SVG that fetches nothing: Rich's own asks another server for its font."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(draw(taken, _SECONDS))
    drawn = console.export_svg(title="make demo")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL).replace("Fira Code", "ui-monospace")


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(svg(picture()), encoding="utf-8")
