"""Times by magnitude and by text, and in a form that the configuration states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_worker.core.event_times import seconds_in
from stream_worker.core.time_formats import check_ts_format

NOON = 1_571_832_000  # 2019-10-23T12:00:00Z
FORMATS = ("", "s", "ms", "us", "ns", "%d/%m/%Y %H:%M", "%Y-%m-%dT%H:%M:%S.%f%z", "%a %b %d %H:%M:%S %Y", "%Y%m%d")


@pytest.mark.parametrize("per_second", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize("year", [1992, 2019, 2099])
def test_the_unit_of_a_number_is_told_by_its_magnitude(per_second: int, year: int) -> None:
    seconds = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    assert seconds_in(seconds * per_second) == seconds
    assert seconds_in(str(seconds * per_second)) == seconds


@pytest.mark.parametrize("year", [1990, 2000, 2026, 2100])
def test_ticks_of_dot_net_are_no_time(year: int) -> None:
    ticks = (datetime(year, 12, 31) - datetime(1, 1, 1)) // timedelta(microseconds=1) * 10
    assert seconds_in(ticks) is None
    assert seconds_in(str(ticks)) is None


@pytest.mark.parametrize(
    ("value", "form", "seconds"),
    [
        (NOON, "s", NOON),
        (NOON * 1000, "ms", NOON),
        (str(NOON * 10**6), "us", NOON),
        (NOON * 10**9, "ns", NOON),
        (700_000_000_000_000_000, "ns", 700_000_000),
        (86_400_000, "ms", 86_400),  # by magnitude these are seconds
        ("20191023", "s", 20_191_023),  # and this is a date
        ("23/10/2019 12:00", "%d/%m/%Y %H:%M", NOON),
        (" 23/10/2019 12:00\t", "%d/%m/%Y %H:%M", NOON),
        ("2019-10-23 14:00:00 +0200", "%Y-%m-%d %H:%M:%S %z", NOON),
        ("2019-10-23 12:00:00 UTC", "%Y-%m-%d %H:%M:%S UTC", NOON),
        ("23 Oct 2019 12:00:00.5", "%d %b %Y %H:%M:%S.%f", NOON + 0.5),
        (20191023, "%Y%m%d", NOON - 43_200),
        (20191023.0, "%Y%m%d", NOON - 43_200),
    ],
)
def test_a_stated_form_is_read(value: object, form: str, seconds: float) -> None:
    check_ts_format(form)
    assert seconds_in(value, form) == seconds


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("2019-10-23T12:00:00Z", "s"),
        (True, "s"),
        (float("nan"), "s"),
        (10**400, "ns"),
        (NOON, "%d/%m/%Y"),
        ("10/23/2019", "%d/%m/%Y"),
        ("23/10/2019", "%d/%m/%Y %H:%M"),
        ("23/10/2019" + " " * 1000, "%d/%m/%Y"),
        ("0000-01-01", "%Y-%m-%d"),
        (None, "%d/%m/%Y"),
        ({}, "ms"),
    ],
)
def test_what_is_in_no_stated_form_is_no_time(value: object, form: str) -> None:
    """A stated form takes the place of the others, so that a wrong one is noticed."""
    check_ts_format(form)
    assert seconds_in(value, form) is None


@pytest.mark.parametrize("form", FORMATS)
def test_good_forms_are_taken(form: str) -> None:
    check_ts_format(form)


@pytest.mark.parametrize(
    "form",
    [
        "sec",
        "yyyy-MM-dd",
        "%H:%M:%S",  # no date
        "%Y-%m",  # no day
        "%d %B",  # no year
        "%Y-%m-%d %I:%M",  # forenoon or afternoon?
        "%Y-%m-%d %d",  # the day twice
        "%Y-%m-%d %M",  # minutes, but no hour
        "%s",  # no directive of strptime
        "%Y-%m-%d %",
        "%Y-%m-%d\0",
    ],
)
def test_a_form_that_holds_no_whole_date_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match=r"must be s, ms, us, ns or a format .* that holds a whole date"):
        check_ts_format(form)


def test_the_name_of_a_zone_is_refused_since_machines_differ_in_it() -> None:
    with pytest.raises(ValueError, match="must name the zone by %z"):
        check_ts_format("%Y-%m-%d %H:%M:%S %Z")


@given(
    moment=st.datetimes(datetime(1990, 1, 1), datetime(2099, 1, 1)).map(lambda moment: moment.replace(microsecond=0)),
    hours=st.integers(-12, 12),
)
def test_what_a_format_writes_it_reads(moment: datetime, hours: int) -> None:
    there = moment.replace(tzinfo=timezone(timedelta(hours=hours)))
    for form in ("%Y-%m-%dT%H:%M:%S%z", "%d.%m.%Y %H:%M:%S %z", "%b %d %Y %I:%M:%S %p %z", "%Y/%j %H:%M:%S %z"):
        assert seconds_in(there.strftime(form), form) == there.timestamp()


@given(value=st.one_of(st.text(), st.integers(), st.floats(), st.text("0123456789-:/ TZ+.,eE"), st.none()))
def test_no_value_raises_whatever_the_form(value: object) -> None:
    for form in FORMATS:
        assert seconds_in(value, form) is None or isinstance(seconds_in(value, form), float)


def test_typed_times_are_read_as_they_are() -> None:
    assert seconds_in(datetime(2019, 10, 23, 12)) == NOON
    assert seconds_in(datetime(2019, 10, 23, 12), "%d/%m/%Y") == NOON
    assert seconds_in(datetime(2019, 10, 23, 14, tzinfo=timezone(timedelta(hours=2)))) == NOON
    assert seconds_in(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=23)))) == -62_135_679_600
