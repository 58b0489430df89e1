"""The way to one guest: its address, its MTU, and a fair queue of the packets that wait for its line.

In: `send(packet, key)` from flows (a packet belongs to the queue of its key, one key a flow).
Out: `take(budget)` hands the packets over in the order in which they should go onto the line.
What it does not know: PPP, framing, ports.  `kick` tells the owner that something waits.

Order: deficit round robin with a first list for flows that had nothing waiting (RFC 8290 section 4), so that an
echo reply, a keystroke or a pure ACK overtakes a bulk transfer.  Nothing is ever dropped from inside a queue;
what does not fit is refused at the tail, and TCP flows ask `room` before they read their stream.

Waiting for room.  A flow waits for one of two things.  Its own queue is full: `take` wakes it when it has made room
there.  Or what all flows share is used up (the line's total, or what may be in flight): then it stands in one row with
the others, and nobody who comes later gets room before it.  Only the first of the row is woken, when there is as much
room as it needs, and the next one when the first has had its turn.  To wake only marks a flow, which reads its
stream when the wake-up ends: nothing in here calls what reads.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Protocol

from nat.flight import Flight

# Bounds, in octets of IP packets.
TOTAL_MOST = 512 * 1024  # all that waits for one line
BULK_MOST = TOTAL_MOST // 2  # beyond it flows do not read more from their streams
FLOW_MOST = 128 * 1024  # what one flow may have waiting when the line is fast


class Waiter(Protocol):
    """A flow that found no room."""

    def wake(self) -> None:
        """There is room: try again when this wake-up ends, and then say so with `Line.pass_on`."""


class _Queue:
    __slots__ = ("key", "packets", "size", "deficit", "listed", "waiter", "need")

    key: Hashable

    def __init__(self) -> None:
        self.packets: deque[bytes] = deque()
        self.size = 0
        self.deficit = 0
        self.listed = False
        self.waiter: Waiter | None = None  # who waits for room in this queue
        self.need = 0  # octets that it wants; 0 where nobody waits


class Line:
    """One guest's line as the NAT sees it.  `up` is False while the guest is away: packets are then dropped.

    kick: called when something waits that did not before; see `connect`.
    flow_limit: octets that one flow may have waiting; the owner raises it while the line is fast.
    flight: what bounds the octets on the way on a line that hides its queue.
    delay: seconds until the line has taken what was handed to it last; retransmission timers add it.
    turn: the key of the flow that was woken as the first of the row and has not tried yet; None: nobody was.

    Invariant: while somebody stands in the row and it is nobody's turn, there is no room for the first of the row.
    """

    def __init__(self, address: bytes, mtu: int, kick: Callable[[], None], count: Counter[str]) -> None:
        self.address = address
        self.mtu = mtu
        self.kick = kick
        self.queued = 0  # octets
        self.flow_limit = 4 * mtu
        self.delay = 0.0
        self.flight = Flight(mtu)
        self.count = count
        self.turn: Hashable | None = None
        self._up = False
        self._queues: dict[Hashable, _Queue] = {}
        self._spare: list[_Queue] = []  # one that is empty: a flow that sends now and then makes no new one each time
        self._new: deque[_Queue] = deque()
        self._old: deque[_Queue] = deque()
        # Who waits for room that all share, the longest waiting first, and the octets that each needs.
        self._row: OrderedDict[Hashable, tuple[Waiter, int]] = OrderedDict()

    def connect(self, mtu: int, kick: Callable[[], None]) -> None:
        """Somebody takes the packets from now on; `kick` tells of them."""
        self.mtu, self.kick = mtu, kick

    def disconnect(self) -> None:
        """Nobody takes them any more."""
        self.kick = _nothing

    @property
    def up(self) -> bool:
        return self._up

    @up.setter
    def up(self, up: bool) -> None:
        self._up = up
        self.offer()

    def send(self, packet: bytes, key: Hashable) -> bool:
        """Queue one packet for the guest.  False: dropped and counted, because the queue is full or nobody is there."""
        size = len(packet)
        queue = self._queues.get(key)
        if not self._up:
            self.count["line.down"] += 1
            return False
        if self.queued > TOTAL_MOST or (queue is not None and queue.size > FLOW_MOST):
            self.count["line.queue_full"] += 1
            return False
        if queue is None:
            queue = self._queues[key] = self._spare.pop() if self._spare else _Queue()
            queue.key = key
        queue.packets.append(packet)
        queue.size += size
        self.queued += size
        if not queue.listed:
            queue.listed = True
            queue.deficit = self.mtu
            self._new.append(queue)
            self.kick()
        elif self.queued == size:  # the last `take` ended with this queue empty, before it was taken off the list
            self.kick()
        return True

    def room(self, key: Hashable) -> int:
        """How many octets of bulk data the flow may add now without standing in anybody's way; 0 when none."""
        if self.queued >= BULK_MOST or not self._up or (self._row and key != self.turn):
            return 0
        room = max(self.flow_limit, self.mtu)
        queue = self._queues.get(key)
        if queue is not None:
            room = max(0, room - queue.size)
        return min(room, self.flight.room()) if self.flight.hidden else room

    def waiting(self, key: Hashable) -> bool:
        """Whether packets of the flow are still here."""
        queue = self._queues.get(key)
        return queue is not None and bool(queue.packets)

    # Flows that wait for room

    def wait(self, key: Hashable, flow: Waiter, need: int) -> None:
        """`room(key)` was less than `need` octets: wake `flow` when it is not.

        Who waits already keeps its place.  `need` is at most the MTU.
        """
        queue = self._queues.get(key)
        if queue is not None and queue.size > max(self.flow_limit, self.mtu) - need:
            queue.waiter, queue.need = flow, need
            self._leave_row(key)
        else:
            self._row[key] = flow, need
            if self.turn == key:  # it used nothing, and stays the first
                self.turn = None
            self.offer()

    def pass_on(self) -> None:
        """The flow whose turn it was has used what it wanted, if anything."""
        if self.turn is not None:
            self._leave_row(self.turn)

    def forget(self, key: Hashable) -> None:
        """The flow does not wait any more."""
        queue = self._queues.get(key)
        if queue is not None:
            queue.waiter, queue.need = None, 0
        self._leave_row(key)

    def offer(self) -> None:
        """Wake the first of the row if there is room for it; for whoever has made room, here or in `flight`."""
        if self._row and self.turn is None and self._up and self.queued < BULK_MOST:
            key, (flow, need) = next(iter(self._row.items()))
            if not self.flight.hidden or self.flight.room() >= min(need, self.mtu):
                self.turn = key
                flow.wake()

    def _leave_row(self, key: Hashable) -> None:
        self._row.pop(key, None)
        if self.turn == key:
            self.turn = None
            self.offer()

    # The owner's side

    def take(self, budget: int) -> list[bytes]:
        """The packets that go next: at least one if any waits, and none after `budget` octets are reached."""
        out: list[bytes] = []
        new, old = self._new, self._old
        while budget > 0:
            source = new or old
            if not source:
                break
            queue = source[0]
            packets = queue.packets
            if not packets:
                source.popleft()
                if source is new and old:  # RFC 8290 section 4.2: once round the old list, lest it starve
                    old.append(queue)
                else:
                    queue.listed = False
                    del self._queues[queue.key]
                    if not self._spare:
                        self._spare.append(queue)
                continue
            if queue.deficit <= 0:
                queue.deficit += self.mtu
                source.popleft()
                old.append(queue)
                continue
            size = 0
            deficit = min(queue.deficit, budget)
            while packets and size < deficit:
                packet = packets.popleft()
                out.append(packet)
                size += len(packet)
            queue.deficit -= size
            queue.size -= size
            self.queued -= size
            budget -= size
            if queue.need:
                self._wake(queue)
        if self._row:
            self.offer()
        return out

    def discard(self, key: Hashable) -> None:
        """Drop what waits under `key`: the guest does not want it any more."""
        queue = self._queues.get(key)
        if queue is not None:
            self.count["line.discarded"] += len(queue.packets)
            self.queued -= queue.size
            queue.packets.clear()
            queue.size = 0
            self._wake(queue)
            self.offer()

    def clear(self) -> None:
        """Drop all that waits (the guest has gone).  Waiting flows stay: they are woken when the line is back."""
        queues = self._queues
        self.count["line.down"] += sum(len(queue.packets) for queue in queues.values())
        for key, queue in queues.items():
            if queue.waiter is not None:
                self._row[key] = queue.waiter, queue.need
        queues.clear()
        self._new.clear()
        self._old.clear()
        self.queued = 0
        self.offer()

    def _wake(self, queue: _Queue) -> None:
        """Wake who waits for this queue, if it has room now."""
        flow = queue.waiter
        if flow is not None and queue.size <= max(self.flow_limit, self.mtu) - min(queue.need, self.mtu):
            queue.waiter, queue.need = None, 0
            flow.wake()


def _nothing() -> None:
    pass
