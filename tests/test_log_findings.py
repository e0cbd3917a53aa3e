"""A replay says what of its log was no event, and why; nothing but that is a failure."""

from __future__ import annotations

from pathlib import Path

from stream_worker.exit_codes import ExitCode
from tests.test_commands import call
from tests.test_replay import MAPPING

T = 1_700_000_000
HEADER = "user,item,ts,type\n"


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_dead_letters_are_told_by_kind_with_reason_and_row(tmp_path: Path) -> None:
    rows = [f"a,x,{T},view", "a,x,soon,view", f"b,y,{T},view", f"b,,{T},view", "a,x,later,view", f"b,y,{T},stare"]
    code, out, err = call("replay", write(tmp_path / "a.csv", HEADER + "\n".join(rows)), "-m", str(MAPPING))
    assert code == ExitCode.DONE, err
    lines = [line for line in out.splitlines() if line.startswith("dead letters: ")]
    assert [line.removeprefix("dead letters: ").partition(": ")[0] for line in lines] == [
        "2 BadTimestamp, the first in line 3 of a.csv",
        "1 MissingField, the first in line 5 of a.csv",
        "1 UnknownType, the first in line 7 of a.csv",
    ]
    assert "got 'soon'" in lines[0]


def test_a_log_without_an_event_is_a_failure_with_its_commonest_reasons(tmp_path: Path) -> None:
    """It was a table of zeros and exit code 0."""
    rows = [f"a,x,{T},stare"] * 5 + ["a,x,soon,view"] * 4 + [f",x,{T},view"] * 3 + [f"a,x,{T},view,more"] * 2
    log = write(tmp_path / "a.csv", HEADER + "\n".join(rows))
    code, out, err = call("replay", log, "-m", str(MAPPING))
    assert code == ExitCode.FAILED
    assert out == ""
    said, *reasons = err.splitlines()[-4:]
    assert said == "stream-worker: no row of the log is an event, 14 are dead letters:"
    told = ("  5 UnknownType, the first in line 2", "  4 BadTimestamp, the first in line 7", "  3 MissingField, the")
    assert all(line.startswith(begin) for line, begin in zip(reasons, told, strict=True))
    assert "NotARow" not in err
    empty = write(tmp_path / "empty.toml", "")
    code, _, err = call("compare", empty, empty, log, "-m", str(MAPPING))
    assert code == ExitCode.FAILED
    assert "no row of the log is an event" in err


def test_a_header_alone_is_a_log_without_rows(tmp_path: Path) -> None:
    code, _, err = call("replay", write(tmp_path / "a.csv", HEADER), "-m", str(MAPPING))
    assert code == ExitCode.FAILED
    assert "the log has no rows" in err


def test_fields_left_out_and_habits_of_the_log_are_told_once(tmp_path: Path) -> None:
    mapping = write(tmp_path / "m.toml", MAPPING.read_text() + '\nvalue = "price"\n')
    rows = [f"a,x,{T + 500},view,EUR 3", f"b,y,{T},view,2", f"b,y,{T},view,2", f"c,z,{T},view,EUR 4"]
    text = "user,item,ts,type,price\n" + "\n".join(rows)
    code, out, err = call("replay", write(tmp_path / "a.csv", text), "-m", mapping)
    assert code == ExitCode.DONE, err
    assert "fields left out: 2 value, the first in line 2 of a.csv: price: expected a finite number" in out
    assert out.count("note: 1 event is more than a minute older") == 1
    assert out.count("note: 1 event stands there twice in a row") == 1
    assert err.count("EUR 3") == 1


def test_ignored_rows_and_types_that_never_occur_are_told_at_the_end(tmp_path: Path) -> None:
    settings = {"EVENTS__TYPES": '{"page": "ignore", "identify": "ignore", "view": {}, "rating": {}, "wish": {}}'}
    rows = [f"a,x,{T},view", f"a,x,{T},page", f"a,x,{T},page", f"b,y,{T},identify"]
    code, out, err = call("replay", write(tmp_path / "a.csv", HEADER + "\n".join(rows)), "-m", str(MAPPING), **settings)
    assert code == ExitCode.DONE, err
    assert ", 3 ignored, 0 dead letters, " in out
    assert "ignored: 2 page, 1 identify\n" in out
    assert "note: event types of the configuration that no event has: rating, wish\n" in out


def test_default_types_that_never_occur_are_not_told(tmp_path: Path) -> None:
    """Nobody has named them."""
    code, out, _ = call("replay", write(tmp_path / "a.csv", f"{HEADER}a,x,{T},view"), "-m", str(MAPPING))
    assert code == ExitCode.DONE
    assert "event types" not in out
    assert "ignored" not in out
