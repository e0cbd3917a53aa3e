"""Gives a line's weights to the group's other workers after a step, and takes the mean with theirs before the next one.

A worker that hears no other gives nothing but a sign of life, so that alone it costs nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence

from model.weights.gift import MOST_SAY, Gift
from model.weights.shared_weights import SharedWeights
from stream_worker.core.status import WeightsSharing
from stream_worker.core.weights_codec import GivenWeights, Parts, Skipped, encode_weights
from stream_worker.logs import get_logger
from stream_worker.loop.line import Line
from stream_worker.loop.outside import Outside

# Weights that are taken were given at most so long ago; who was silent for longer is gone. Not tuned.
FRESH_SECONDS = 10.0
_BETWEEN_GIFTS = 0.2  # seconds; a step is about as often, at any effort (not tuned)
_BETWEEN_SIGNS = 2.0  # seconds between two signs of life of a worker that hears no other; not tuned
_AT_ONCE = 64  # records of one look; not tuned
_MOST_LINES = 64  # that a worker which makes no step keeps weights of, the newest ones; not tuned
LATE, OTHER_FAMILY = "late", "family"
_log = get_logger(__name__)


class WeightsOfOthers:
    """The part of a line's weights that comes from the others; called between the line's steps, and between two ticks.

    outside: `weights`: the topic; None: the line's weights are its own.
    kinds: names of the event types, in the order that the weights know them by.
    """

    def __init__(self, outside: Outside, line: Line, status: WeightsSharing, kinds: Sequence[str]) -> None:
        self._topic, self._clock, self._line, self._status = outside.weights, outside.clock, line, status
        self._kinds = hashlib.blake2b("\0".join(kinds).encode(), digest_size=4).hexdigest()
        self._shared = SharedWeights(line.learner)
        self._parts = Parts()
        self._waiting: dict[str, GivenWeights] = {}
        self._numbers = itertools.count(1)
        self._gave = self._heard_other = -math.inf
        self._rested = True
        self._said: set[tuple[str, str]] = set()

    def begin(self) -> None:
        """Have a part in the line's steps from now on, if there is a topic."""
        if self._topic is not None:
            self._shared.begin()
            self._topic.begin()
            self._line.learner.between_steps = self
            self._say_trouble(self._topic.trouble())

    def hear(self) -> None:
        """Read what others gave; the newest of each is kept for the next step."""
        if self._topic is not None:
            for record in self._topic.poll(_AT_ONCE):
                if record.key != self._topic.slot.encode():
                    self._read(record.key or b"", record.value or b"")
            self._say_trouble(self._topic.trouble())

    def before_step(self) -> None:
        self.hear()
        waiting, self._waiting = self._waiting, {}
        gifts = [given for _, given in sorted(waiting.items()) if not self._resting() and self._is_fresh(given)]
        if gifts:
            self._line.learner.life.start.share(self._line.learner.catalog)
            self._shared.take([_gift(given) for given in gifts])
            self._status.taken += 1
            self._status.lines, self._status.oldest_ts = len(gifts), min(given.at for given in gifts)

    def after_step(self) -> None:
        now = self._clock.monotonic()
        alone = now - self._heard_other > FRESH_SECONDS
        if not self._resting() and now - self._gave >= (_BETWEEN_SIGNS if alone else _BETWEEN_GIFTS):
            self._gave = now
            self._give(Gift({}, (), self._shared.say) if alone else self._shared.give(), alone)

    def close(self) -> None:
        if self._topic is not None:
            self._topic.close()

    # -- what is given -----------------------------------------------------------------------------------------

    def _give(self, gift: Gift | None, sign: bool) -> None:
        if gift is None or self._topic is None:
            return
        step, at = self._line.learner.steps, self._clock.now()
        given = GivenWeights(self._topic.slot, self._family(), step, gift.say, at, gift.columns, gift.ids)
        written = self._topic.write(encode_weights(given, next(self._numbers)))
        self._status.given += written and not sign

    def _family(self) -> str:
        """Return what the weights of two lines must have in common, or their mean would mean nothing."""
        return f"{self._line.learner.family}/{self._kinds}"

    def _resting(self) -> bool:
        """Return whether the line fell back and has not recovered: it then takes nothing, since that may be what broke
        it, and gives nothing. Afterwards it has the least say."""
        resting = self._line.recovery.rests()
        if self._rested and resting:
            _log.warning("the line fell back: until it has recovered, it takes no weights of others and gives none")
        elif not self._rested and not resting:
            self._shared.begin()
        self._rested = not resting
        return resting

    # -- what is taken -----------------------------------------------------------------------------------------

    def _read(self, sender: bytes, record: bytes) -> None:
        """Keep the weights of a record for the next step, if they can be taken."""
        try:
            given = self._parts.add(sender, record)
        except Skipped as skipped:
            self._refuse(skipped.reason, sender.decode(errors="backslashreplace"), skipped.detail)
            return
        if given is None:
            return
        if (refusal := self._refusal(given)) is not None:
            self._refuse(*refusal)
        else:
            self._keep(given)

    def _refusal(self, given: GivenWeights) -> tuple[str, str, str] | None:
        """Return reason, sender and a sentence for a person, if weights can't be taken."""
        if given.family != self._family():
            remedy = "start both from the same checkpoint to bring them together"
            return OTHER_FAMILY, given.slot, f"the lines began apart, or know other event types; {remedy}"
        if not self._is_fresh(given):
            return LATE, given.slot, f"given {self._clock.now() - given.at:.0f} s ago; are the machines' clocks right?"
        if given.columns and (reason := self._shared.refusal(_gift(given))):
            return reason, given.slot, "the models' sizes differ, or the weights are broken"
        return None

    def _keep(self, given: GivenWeights) -> None:
        self._heard_other = self._clock.monotonic()
        if given.columns:
            self._waiting.pop(given.slot, None)
            self._waiting[given.slot] = given
            if len(self._waiting) > _MOST_LINES:
                del self._waiting[next(iter(self._waiting))]

    def _is_fresh(self, given: GivenWeights) -> bool:
        return abs(self._clock.now() - given.at) <= FRESH_SECONDS

    def _refuse(self, reason: str, sender: str, detail: str) -> None:
        """Count weights that are not taken; say it once for each reason and sender."""
        self._status.refused[reason] += 1
        if (reason, sender) not in self._said:
            self._said.add((reason, sender))
            _log.warning("weights of another worker are not taken", slot=sender, reason=reason, detail=detail)

    def _say_trouble(self, trouble: str) -> None:
        """Say each trouble once."""
        if trouble and ("trouble", trouble) not in self._said:
            self._said.add(("trouble", trouble))
            _log.warning("the weights learn from this worker's own events alone", reason=trouble)


def _gift(given: GivenWeights) -> Gift:
    return Gift(dict(given.columns), given.ids, min(given.say, MOST_SAY))
