"""Loads a snapshot into a line, as far as it belongs to the same source and fits the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from stream_worker.core.effort import Effort
from stream_worker.core.errors import ConfigurationError
from stream_worker.core.interfaces import Snapshot
from stream_worker.core.source_id import SourceId
from stream_worker.logs import get_logger
from stream_worker.loop.item_numbers import ItemNumbers
from stream_worker.loop.line import UNFIT, WEIGHTS, Line, unfit
from stream_worker.loop.outside import Outside

_log = get_logger(__name__)


class Restoring:
    """Loads snapshots. Offsets, memories and the sink's state are taken only if they belong to this source."""

    def __init__(self, outside: Outside, line: Line, numbers: ItemNumbers, effort: Effort) -> None:
        self._outside, self._line, self._numbers, self._effort = outside, line, numbers, effort

    def restore(self, snapshot: Snapshot, own: bool) -> None:
        """Go on from a snapshot. Raises ConfigurationError if it does not fit.

        own: True if this line goes on with the snapshot's name; otherwise it is a new line that starts from it.
        """
        line, ours = self._line, self._outside.source.identity()
        theirs = SourceId.of_json(snapshot.meta["source"])
        same_source, same_name = theirs.is_same(ours), replace(theirs, topic_id="").is_same(ours)
        line.learned_of = theirs if same_name else SourceId("")
        name = snapshot.meta["line"] if own and same_name else line.name
        if own and same_name:  # also after the topic was made again: users go on from their older records
            self._take_memories(snapshot.state_below("memories"))
        if own and same_source:
            self._outside.sink.load_state_dict(snapshot.meta["sink"])
        anew = self._take_line(snapshot)
        # Older checkpoints name no family: lines that begin from the same one are one.
        line.learner.family = line.learner.family or str(snapshot.meta["line"])
        line.name = name
        self._effort.load_state_dict(snapshot.meta.get("effort", {}) if same_source else {})
        if anew:
            self._say_what_begins_anew(anew)
        if not same_source:
            line.forget_offsets()
        _log.info("checkpoint loaded", line=name, events=line.learner.events, same_source=same_source)

    def _take_memories(self, memories: Mapping[str, NDArray[Any]]) -> None:
        """Load the twin's memories. A checkpoint that was written with the other kind of store has none to load."""
        if self._outside.store.durable == bool(memories):
            _log.warning(
                "memories are read again from the topic, as far as memory.rebuild_records and its retention reach",
                reason="they are in the checkpoint's files, not in Redis" if memories else "they were kept in Redis",
            )
        if memories:
            self._outside.store.load_state_dict(memories)

    def _take_line(self, snapshot: Snapshot) -> Mapping[str, str]:
        try:
            return self._line.restore(snapshot, self._numbers.of)
        except UNFIT as fault:
            raise ConfigurationError(f"the checkpoint does not fit this configuration: {unfit(fault)}") from fault

    def _say_what_begins_anew(self, anew: Mapping[str, str]) -> None:
        """Log the parts that begin anew. New weights make a new line, so that (h, c) are rebuilt from the rings."""
        _log.warning("parts of the checkpoint do not fit, and begin anew; all others are kept", parts=dict(anew))
        if WEIGHTS & anew.keys():
            self._line.name = f"{self._line.name}-{self._line.learner.events}"
