"""The identity of a topic or log, to which offsets, memories and checkpoints belong.

The name is not enough: a topic that is deleted and made again keeps its name and gets another id (KIP-516), and two
clusters may use one name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SourceId:
    """The source that a group reads. A recorded log has a name alone.

    name: the topic's name, or `file:...` for a log.
    topic_id: the topic's id in base64; empty where the broker tells none.
    cluster_id: the cluster's id; empty where the broker tells none.
    group: the consumer group; empty for a log.

    A part that is empty on either side is unknown, and counts as equal:

    >>> SourceId("clicks", "a1", "c1", "shop").is_same(SourceId("clicks", group="shop"))
    True
    >>> made_again = SourceId("clicks", "b2", "c1", "shop")
    >>> SourceId("clicks", "a1", "c1", "shop").is_same(made_again)
    False
    """

    name: str
    topic_id: str = ""
    cluster_id: str = ""
    group: str = ""

    def is_same(self, other: SourceId) -> bool:
        """Return True if all parts that both sides know are equal."""
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return all(ours == theirs or not ours or not theirs for ours, theirs in pairs)

    def completed(self, other: SourceId) -> SourceId:
        """Return this source with the parts that only the other one knows. The two have to be the same.

        >>> SourceId("clicks", cluster_id="c1").completed(SourceId("clicks", "a1"))
        SourceId(name='clicks', topic_id='a1', cluster_id='c1', group='')
        """
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return SourceId(*(ours or theirs for ours, theirs in pairs))

    def to_json(self) -> dict[str, str]:
        """Return a JSON object, for manifests and metadata."""
        return asdict(self)

    @staticmethod
    def of_json(found: Any) -> SourceId:
        """Return the source that `to_json` wrote. A plain text is a name alone, as older versions wrote it."""
        if isinstance(found, Mapping):
            return SourceId(**{name: str(found.get(name, "")) for name in SourceId.__dataclass_fields__})
        return SourceId(str(found))
