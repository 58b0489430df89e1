"""Sentences from deep inside, at a rate that a person can read: a guest decides how often they come.

In: one plain sentence at a time.  Out: the same sentence at most once in `repeat_after` seconds, and no more than
BURST of them in a second; what is left out is counted and said later in one line.
"""

from collections import OrderedDict
from collections.abc import Callable

REPEAT_AFTER = 60.0
BURST = 10
REMEMBERED_MOST = 256  # sentences whose last time is known


class Notices:
    """`say` prints one line; `clock` gives seconds."""

    def __init__(
        self, say: Callable[[str], None], clock: Callable[[], float], repeat_after: float = REPEAT_AFTER
    ) -> None:
        self._say = say
        self._clock = clock
        self._repeat_after = repeat_after
        self._said: OrderedDict[str, float] = OrderedDict()
        self._second = -1
        self._in_second = 0
        self._left_out = 0

    def __call__(self, sentence: str) -> None:
        now = self._clock()
        if now - self._said.get(sentence, -self._repeat_after) < self._repeat_after:
            return
        if int(now) != self._second:
            self._second, self._in_second = int(now), 0
            if self._left_out:
                self._say(f"(and {self._left_out} more notices in a short time)")
                self._left_out = 0
        if self._in_second >= BURST:
            self._left_out += 1
            return
        self._in_second += 1
        self._said[sentence] = now
        self._said.move_to_end(sentence)
        if len(self._said) > REMEMBERED_MOST:
            self._said.popitem(last=False)
        self._say(sentence)
