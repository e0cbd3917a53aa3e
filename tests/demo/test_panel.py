"""What the panel draws: complete, and no larger than a small terminal."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from stream_worker.demo.panel import PlainLines, draw, noticed_after, summary_lines
from stream_worker.demo.scene import Done, Noticed, Picture

_LONG = "turquoise watering can #12"


def _picture(**more: object) -> Picture:
    values: dict[str, object] = {
        "phase": "open",
        "seconds": 45.0,
        "events": 1_234_567,
        "events_a_second": 1_234.5,
        "lag": 43_210,
        "lists": 1_234_567,
        "lists_read": 1_234_567,
        "latency_p50": 0.0512,
        "latency_p99": 12.345,
        "items": 12_345,
        "hit_rates": {"worker": 0.71, "recent_popularity": 0.15, "co_visitation": 0.62},
        "history": tuple(k / 45 for k in range(46)),
        "losses": {"ranker": 2.98, "encoder": 4.56},
        "noticed": (Noticed(12.0, "view"), Noticed(33.0, "view")),
        "changed_seconds": 30.0,
        "customer": "customer-000",
        "taste": "turquoise garden",
        "actions": tuple(Done("purchase", _LONG, True) for _ in range(8)),
        "list": tuple((_LONG, 0.123) for _ in range(20)),
        **more,
    }
    return Picture(**values)  # type: ignore[arg-type]


def _drawn(picture: Picture, width: int, monkeypatch: pytest.MonkeyPatch, of_seconds: float = 60.0) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    console = Console(file=io.StringIO(), width=width, height=50)
    with console.capture() as capture:
        console.print(draw(picture, of_seconds))
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [80, 100, 120, 200])
@pytest.mark.parametrize("of_seconds", [45.0, 60.0, 3600.0])
def test_the_panel_fits_a_small_terminal(width: int, of_seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """24 lines of 80 columns, with everything at its longest, and nothing of it wrapped."""
    lines = _drawn(_picture(), width, monkeypatch, of_seconds)
    assert len(lines) <= 23
    assert max(len(line) for line in lines) <= width
    assert sum(_LONG in line for line in lines) == 8


def test_the_panel_shows_all_that_there_is_to_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed, lag, latency, hit rates beside the baselines, losses, the change, the alarm, the customer."""
    text = "\n".join(_drawn(_picture(), 80, monkeypatch))
    for shown in (
        "1,234,567", "43,210 events", "p50 51 ms", "0.710", "0.150", "0.620", "encoder 4.6", "ranker 3.0",
        "changed at 30 s", "noticed at 33 s", "customer-000", "turquoise garden", "purchase * turq", "12%",
    ):  # fmt: skip
        assert shown in text


def test_before_the_first_event_the_panel_says_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The phase, as it is."""
    text = "\n".join(_drawn(_picture(events=0, phase="warming up"), 80, monkeypatch))
    assert "warming up" in text


def test_plain_lines_tell_phases_the_change_and_every_three_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them once, however often a picture is shown."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    view = PlainLines()
    for tick in range(40):
        now[0] = tick / 4
        view.show(_picture(changed_seconds=5.0 if tick > 20 else None))
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("demo: open") == 1
    assert sum("change their taste" in line for line in lines) == 1
    assert sum("HR@20 this worker 0.71" in line for line in lines) == 4


def test_alarms_before_the_change_do_not_count_as_noticing_it() -> None:
    """The first one after it does."""
    assert noticed_after(_picture()) == 33.0
    assert noticed_after(_picture(noticed=(Noticed(12.0, "view"),))) is None
    assert noticed_after(_picture(changed_seconds=None)) is None


def test_the_summary_tells_of_the_change() -> None:
    """Before, the lowest after it, the end, and whether it was noticed; nothing of a change that did not come."""
    history = (0.7,) * 31 + (0.5, 0.4, 0.6)
    text = "\n".join(summary_lines(_picture(history=history), 0.05, 0.1))
    for told in ("1,234,567 lists", "median 50 ms, p99 100 ms", "noticed 3.0 s later", "0.70", "0.40", "0.60"):
        assert told in text
    assert "not noticed" in "\n".join(summary_lines(_picture(noticed=()), 0.05, 0.1))
    assert "changed" not in "\n".join(summary_lines(_picture(changed_seconds=None), 0.05, 0.1))
