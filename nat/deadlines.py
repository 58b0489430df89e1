"""The deadlines of all who wait for a time, with one timer.

In: `arm(owner, when)` as often as an owner likes; it costs an attribute unless the deadline moves earlier.
Out: `next()`, the time at which `expire(now)` is next worth calling; `expire` calls `owner.tick(now)` for each
owner whose deadline has come.  It does not know what the owners are.
"""

import math
from heapq import heapify, heappop, heappush, heapreplace
from typing import Final, Protocol

from nat.dirty import Report, surface

_SLACK: Final = 64  # stale entries that are not worth a look


class Owner(Protocol):
    """Something with a deadline.  Both attributes start as math.inf and belong to Deadlines."""

    deadline: float  # when tick is wanted
    queued: float  # when the heap will next look at the owner: never later than deadline while it is finite

    def tick(self, now: float) -> None: ...


class Deadlines:
    """A heap whose entries may be stale: each is checked against its owner when it reaches the top.

    report: told of what an owner's tick raises; the other owners have their turn all the same.
    """

    def __init__(self, report: Report = surface) -> None:
        self._report = report
        self._heap: list[tuple[float, int, Owner]] = []
        self._serial = 0
        self._owners = 0  # with a finite deadline

    def __len__(self) -> int:
        """Entries in the heap, the stale ones included: at most twice the owners and _SLACK, and one."""
        return len(self._heap)

    def arm(self, owner: Owner, when: float) -> None:
        """From now on `owner` wants its tick at `when` (math.inf: no tick)."""
        if owner.deadline == math.inf:
            self._owners += 1
        if when == math.inf:
            self._owners -= 1
        owner.deadline = when
        if when < owner.queued:
            if len(self._heap) > 2 * self._owners + _SLACK:
                self._compact()
            owner.queued = when
            self._serial += 1
            heappush(self._heap, (when, self._serial, owner))

    def next(self) -> float:
        """The earliest deadline, or math.inf."""
        heap = self._heap
        while heap:
            when, serial, owner = heap[0]
            if when != owner.queued:  # an earlier entry of the same owner replaced this one
                heappop(heap)
            elif owner.deadline == math.inf:
                heappop(heap)
                owner.queued = math.inf
            elif owner.deadline > when:
                owner.queued = owner.deadline
                heapreplace(heap, (owner.deadline, serial, owner))
            else:
                return when
        return math.inf

    def expire(self, now: float) -> None:
        """Tick every owner whose deadline is not after `now`, the earliest first, each once.

        One that arms itself for a time already past has its turn at the next call, so that it cannot keep the
        others waiting.
        """
        due: list[Owner] = []
        while self.next() <= now:
            owner = heappop(self._heap)[2]
            owner.queued = math.inf
            due.append(owner)
        for owner in due:
            if owner.deadline <= now:  # nobody has moved it meanwhile
                owner.deadline = math.inf
                self._owners -= 1
                try:
                    owner.tick(now)
                except Exception as error:
                    self._report(error, now)

    def _compact(self) -> None:
        """Throw the stale entries away."""
        kept = []
        for entry in self._heap:
            when, _, owner = entry
            if when != owner.queued:
                continue
            if owner.deadline == math.inf:
                owner.queued = math.inf
            else:
                kept.append(entry)
        heapify(kept)
        self._heap = kept
