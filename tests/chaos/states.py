"""What every user's (h, c) has to be, in plain torch, while nobody learns and item vectors are hashes of the ids.

The reference knows no batch, store or worker: a user's events in the topic, the weights that `model.seed` gives, and
the formula of the LSTM are all it takes. So it is more than what another run of the same program would say, and it
takes seconds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from model.encoder.encoder import Encoder
from model.items.starts import hashed_vectors
from model.learner_config import LearnerConfig
from stream_worker.backends.memory_config import MemoryConfig
from stream_worker.backends.redis import RedisMemoryStore
from stream_worker.core.mapping.config import EventsConfig
from stream_worker.core.memory_record import MemoryFormat
from tests.support.fleet import read_all
from tests.support.scene import Scene

FIXED = {"MODEL__LEARNING": "false", "MODEL__ITEM_VECTORS": "hashed"}  # settings of the workers
TOLERANCE = 2e-3
_CONFIG = LearnerConfig(learning=False, item_vectors="hashed")
_TYPES = list(EventsConfig().types)
_FIRST_GAP, _LONGEST_GAP = 31, 30

Key = tuple[str, int]  # user, partition
History = list[tuple[str, int, int]]  # item, type, gap


def check_states(scene: Scene) -> dict[str, str]:
    """(h, c) of every record is what its user's events make it; returns the largest differences."""
    histories, found = _histories(scene), _remembered(scene)
    assert found.keys() == histories.keys()
    keys = list(histories)
    states = _walk([histories[key] for key in keys])
    far = np.abs(states - np.stack([found[key] for key in keys])).max(axis=2)
    worst = int(far.max(axis=1).argmax())
    assert far.max() <= TOLERANCE, (
        f"(h, c) of {keys[worst]} are {far[worst]} off after {histories[keys[worst]]}; "
        f"{(far.max(axis=1) > TOLERANCE).sum()} are"
    )
    h, c = far.max(axis=0)
    return {"h off by": f"{h:.5f}", "c off by": f"{c:.5f}"}


def moved_users(scene: Scene) -> int:
    """Users with lists under more than one line of weights: their states were rebuilt by another worker's LSTM."""
    values = [json.loads(message.value()) for message in read_all(scene.bootstrap, scene.output)]
    lines = sorted({(value["user"], value["model"]["line"]) for value in values})
    return sum(len(list(of_user)) > 1 for _, of_user in groupby(lines, key=lambda pair: pair[0]))


def _histories(scene: Scene) -> dict[Key, History]:
    """The valid events of the topic, in its order."""
    histories: dict[Key, History] = {}
    newest: dict[Key, float] = {}
    for message in read_all(scene.bootstrap, scene.topic):
        if (message.partition(), message.offset()) not in scene.sent.bad:
            event = json.loads(message.value())
            key, ts, gap = (event["user"], message.partition()), float(event["ts"]), _FIRST_GAP
            if key in newest:
                gap = min(_LONGEST_GAP, int(math.log2(1 + max(0.0, ts - newest[key]))))
            newest[key] = max(ts, newest.get(key, ts))
            histories.setdefault(key, []).append((str(event["item"]), _TYPES.index(event["type"]), gap))
    return histories


def _remembered(scene: Scene) -> dict[Key, np.ndarray]:
    """h and c [2, H] of every record, as they are in Redis."""
    store = RedisMemoryStore(MemoryConfig(redis_url=scene.redis_url), f"{scene.group}:{scene.topic}")
    keys, blobs = zip(*(((user, partition), blob) for partition, user, blob in store.scan()), strict=True)
    store.close()
    records = MemoryFormat(_CONFIG.ring_size, _CONFIG.dim).decode(blobs)
    states = np.stack([records["h"], records["c"]], axis=1).astype(np.float32)
    return dict(zip(keys, states, strict=True))


@torch.no_grad()
def _walk(histories: Sequence[History]) -> np.ndarray:
    """h and c [users, 2, H] after all events, all users in step."""
    torch.manual_seed(_CONFIG.seed)
    encoder = Encoder(_CONFIG.encoder)
    h, c = torch.zeros(2, len(histories), _CONFIG.dim)
    for step in range(max(map(len, histories))):
        at = [user for user, history in enumerate(histories) if len(history) > step]
        h[at], c[at] = _step(encoder, [histories[user][step] for user in at], h[at], c[at])
    return torch.stack([h, c], dim=1).numpy()


def _step(encoder: Encoder, events: Sequence[tuple[str, int, int]], h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Hochreiter and Schmidhuber's step, and the rounding to half precision that records have."""
    items, types, gaps = zip(*events, strict=True)
    x = hashed_vectors(items, _CONFIG.dim) * _CONFIG.dim**0.5
    x = x + encoder.type_vectors.weight[list(types)] + encoder.gap_vectors.weight[list(gaps)]
    weight_x, weight_h, bias_x, bias_h = encoder.lstm.parameters()
    gates = x @ weight_x.T + bias_x + h @ weight_h.T + bias_h
    enter, keep, new, out = gates.chunk(4, dim=1)
    c = keep.sigmoid() * c + enter.sigmoid() * new.tanh()
    h = out.sigmoid() * c.tanh()
    return h.half().float(), c.half().float()
