"""A batch's events as packed sequences: every user's in order, each with the state before it."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.encoder.encoder import Encoder, EncoderConfig
from model.encoder.sequences import sequences_of

_EVENTS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=40)


@given(_EVENTS)
def test_every_event_finds_the_state_after_the_one_read_before_it(events: list[tuple[int, bool]]) -> None:
    slot_B = np.array([slot for slot, _ in events], np.int64) * 7
    read_B = np.array([read for _, read in events], np.bool_)
    users, order_X, sizes_T, before_B = sequences_of(slot_B, read_B)
    assert sorted(users.tolist()) == sorted(set(slot_B.tolist()))
    assert sorted(order_X.tolist()) == np.flatnonzero(read_B).tolist()
    assert (np.diff(sizes_T) <= 0).all()
    last: dict[int, int] = {slot: place for place, slot in enumerate(users.tolist())}
    place_of = {event: len(users) + place for place, event in enumerate(order_X.tolist())}
    for event, (slot, read) in enumerate(zip(slot_B.tolist(), read_B.tolist(), strict=True)):
        assert before_B[event] == last[slot]
        if read:
            last[slot] = place_of[event]


@given(_EVENTS)
def test_packed_sequences_are_read_as_one_cell_reads_them_event_by_event(events: list[tuple[int, bool]]) -> None:
    torch.manual_seed(0)
    encoder, width = Encoder(EncoderConfig(dim=4, window=3, dropout=0.4)), len(events)
    inputs = torch.randn(width, 4)
    slot_B = np.array([slot for slot, _ in events], np.int64)
    read_B = np.array([read for _, read in events], np.bool_)
    users, order_X, sizes_T, before_B = sequences_of(slot_B, read_B)
    h_UH, c_UH = torch.randn(len(users), 4), torch.randn(len(users), 4)
    states = {slot: (h_UH[[place]], c_UH[[place]]) for place, slot in enumerate(users.tolist())}
    expected = []
    with torch.no_grad():
        after_XH, last_h, last_c = encoder.read(inputs[order_X], torch.from_numpy(sizes_T), h_UH, c_UH)
        for event, slot in enumerate(slot_B.tolist()):
            expected.append(states[slot][0])
            if read_B[event]:
                states[slot] = torch.lstm_cell(inputs[[event]], states[slot], *encoder.lstm.all_weights[0])
    if events:
        torch.testing.assert_close(torch.cat([h_UH, after_XH])[before_B], torch.cat(expected))
    counts: dict[int, int] = defaultdict(int)
    for slot in slot_B[read_B].tolist():
        counts[slot] += 1
    assert len(last_h) == len(counts)
    for place in range(len(last_h)):
        torch.testing.assert_close((last_h[[place]], last_c[[place]]), states[int(users[place])])
