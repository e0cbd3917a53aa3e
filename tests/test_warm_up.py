"""The warm-up runs what the configuration's own worker will run, so that no first tick compiles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_worker import warm_up as module
from stream_worker.assembly import make_line
from stream_worker.backends.kafka import KafkaConfig
from stream_worker.core.item_config import ItemsConfig
from stream_worker.core.mapping.config import EventsConfig
from stream_worker.loop.line import Line
from tests.support.worker_world import SETTINGS


@pytest.mark.parametrize("described", [True, False])
def test_content_and_ids_are_warmed_where_the_configuration_has_them(
    monkeypatch: pytest.MonkeyPatch, described: bool
) -> None:
    lines: list[Line] = []

    def noted(*args: Any, **more: Any) -> Line:
        lines.append(make_line(*args, **more))
        return lines[-1]

    monkeypatch.setattr(module, "make_line", noted)
    kafka = KafkaConfig(items_topic="items" if described else "")
    events = EventsConfig(id="message.id" if described else "")
    module.warm_up(replace(SETTINGS, kafka=kafka, events=events, items=ItemsConfig(item="sku", title="name")))
    [line] = lines
    content, users = line.learner.content, line.learner.users
    assert bool(np.any(users.ids_SI)) == described
    assert (content is not None) == described
    if content is not None:
        assert len(content.table) == len(content.comparable()) == 20
