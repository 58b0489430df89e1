"""The way to one guest: its address, its MTU, and a fair queue of the packets that wait for its line.

In: `send(packet, key)` from flows (a packet belongs to the queue of its key, one key a flow).
Out: `take(budget)` hands the packets over in the order in which they should go onto the line.
What it does not know: PPP, framing, ports.  `kick` tells the owner that something waits.

Order: deficit round robin with a first list for flows that had nothing waiting (RFC 8290 section 4), so that an
echo reply, a keystroke or a pure ACK overtakes a bulk transfer.  Nothing is ever dropped from inside a queue;
what does not fit is refused at the tail, and TCP flows ask `room` before they read their host socket.
"""

from collections import Counter, deque
from collections.abc import Callable, Hashable
from typing import Protocol

from nat.flight import Flight

# Bounds, in octets of IP packets.
TOTAL_LIMIT = 512 * 1024  # all that waits for one line
FLOW_LIMIT = 128 * 1024  # what one flow may have waiting when the line is fast


class Waiter(Protocol):
    """A flow that found no room."""

    def resume(self, now: float) -> None: ...


class _Queue:
    __slots__ = ("key", "packets", "size", "deficit", "listed")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.packets: deque[bytes] = deque()
        self.size = 0
        self.deficit = 0
        self.listed = False


class Line:
    """One guest's line as the NAT sees it.  `up` is False while the guest is away: packets are then dropped.

    kick: called when something waits that did not before; the owner of the line sets it.
    flow_limit: octets that one flow may have waiting; the owner raises it while the line is fast.
    flight: what bounds the octets on the way on a line that hides its queue.
    delay: seconds until the line has taken what was handed to it last; retransmission timers add it.
    """

    def __init__(self, address: bytes, mtu: int, kick: Callable[[], None], count: Counter[str]) -> None:
        self.address = address
        self.mtu = mtu
        self.kick = kick
        self.up = False
        self.queued = 0  # octets
        self.flow_limit = 4 * mtu
        self.delay = 0.0
        self.flight = Flight(mtu)
        self.count = count
        self._queues: dict[Hashable, _Queue] = {}
        self._new: deque[_Queue] = deque()
        self._old: deque[_Queue] = deque()
        self._waiting: dict[Waiter, None] = {}

    def send(self, packet: bytes, key: Hashable) -> bool:
        """Queue one packet for the guest.  False: dropped and counted, because the queue is full or nobody is there."""
        size = len(packet)
        queue = self._queues.get(key)
        if not self.up:
            self.count["line.down"] += 1
            return False
        if self.queued > TOTAL_LIMIT or (queue is not None and queue.size > FLOW_LIMIT):
            self.count["line.queue_full"] += 1
            return False
        if queue is None:
            queue = self._queues[key] = _Queue(key)
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
        if self.queued >= TOTAL_LIMIT // 2 or not self.up:
            return 0
        queue = self._queues.get(key)
        room = self.flow_limit if queue is None else max(0, self.flow_limit - queue.size)
        return min(room, self.flight.room()) if self.flight.hidden else room

    def landed(self, octets: int) -> None:
        """So many octets of TCP are not in flight any more."""
        self.flight.flying -= octets
        if self.flight.hidden and self._waiting:
            self.kick()  # whoever waits for room is asked when the line is

    def waiting(self, key: Hashable) -> bool:
        """Whether packets of the flow are still here."""
        queue = self._queues.get(key)
        return queue is not None and bool(queue.packets)

    def wait(self, flow: Waiter) -> None:
        """Call `flow.resume` when there is room again."""
        self._waiting[flow] = None

    def forget(self, flow: Waiter) -> None:
        self._waiting.pop(flow, None)

    def resume(self, now: float) -> None:
        """Let each waiting flow try again, the longest waiting first; the owner calls it after `take`."""
        if not self._waiting or self.queued >= TOTAL_LIMIT // 2:
            return
        waiting = self._waiting
        for _ in range(len(waiting)):  # one that waits again goes behind the others; one may end another
            if not waiting:
                break
            flow = next(iter(waiting))
            del waiting[flow]
            flow.resume(now)

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
        return out

    def discard(self, key: Hashable) -> None:
        """Drop what waits under `key`: the guest does not want it any more."""
        queue = self._queues.get(key)
        if queue is not None:
            self.count["line.discarded"] += len(queue.packets)
            self.queued -= queue.size
            queue.packets.clear()
            queue.size = 0

    def clear(self) -> None:
        """Drop all that waits (the guest has gone).  Waiting flows stay: they resume when the line is back."""
        self.count["line.down"] += sum(len(queue.packets) for queue in self._queues.values())
        self._queues.clear()
        self._new.clear()
        self._old.clear()
        self.queued = 0
