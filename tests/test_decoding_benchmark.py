"""The benchmark of decoding measures what it says: every form holds the same events, and a wrong record ends it."""

from __future__ import annotations

import pytest

from benchmarks.decoding import BATCH, Form, Measured, forms, measured, records_of, registry, seconds_an_event
from stream_worker.core.decoder import Decoder
from stream_worker.core.mapping.config import EventsConfig


def test_every_form_holds_the_same_events() -> None:
    with registry() as documents:
        for form in forms():
            events, dead = Decoder(form.config, documents=documents).decode(records_of(form))
            assert (form.name, len(events), dead) == (form.name, BATCH * form.events, [])
            assert events.items[:3] == (["item-0", "item-1", "item-2"])
            assert events.ts_B[form.events] - events.ts_B[0] == 1


def test_the_records_of_ga4_have_the_size_of_real_ones() -> None:
    [ga4] = [form for form in forms() if "GA4" in form.name]
    assert 1_100 < len(ga4.value(0)) < 1_300


def test_flat_json_is_measured_against_itself() -> None:
    with registry() as documents:
        found = measured(documents, rounds=2, batches=1)
    assert [one.name for one in found] == [form.name for form in forms()]
    assert (found[0].ratio, found[0].ratio_min, found[0].ratio_max) == (1, 1, 1)
    assert all(one.microseconds > 0 for one in found)


def test_a_record_that_is_no_event_ends_the_benchmark() -> None:
    broken = Form("broken", lambda n: b"{")
    with pytest.raises(RuntimeError, match="NotJson"):
        seconds_an_event(Decoder(EventsConfig()), records_of(broken), 1)


@pytest.mark.parametrize(("most", "good"), [(None, True), (2.0, True), (1.9, False)])
def test_a_bar_is_the_largest_ratio(most: float | None, good: bool) -> None:
    assert Measured("x", 1, 1, 1.0, 2.0, 2.0, 2.0, most).is_good is good
