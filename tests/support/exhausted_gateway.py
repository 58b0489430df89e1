"""A process of its own for tests/scenarios/test_exhausted_host.py: the gateway with 64 descriptors and real sockets.

Arguments: the port of an echo server on 127.0.0.1, and one that listens and never answers.  Out: one line of JSON.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable

from nat.host import Host, Resolver
from nat.wire.icmp import build_icmp
from nat.wire.udp import build_udp
from tests.support import tcp_peer
from tests.support.fake_watcher import EpollWatcher
from tests.support.serial_world import DNS, GATEWAY, GUEST, SerialWorld
from tests.support.tcp_peer import GuestTcp


class RealHost(Host):
    def __init__(self, watcher: EpollWatcher) -> None:
        super().__init__(watcher, [Resolver(2, "127.0.0.1", 9)])
        self.watcher = watcher

    def ready(self, now: float) -> bool:
        return self.watcher.run_once(0) > 0


class RealWorld(SerialWorld):
    """In real time, with real sockets."""

    def __init__(self, real: RealHost) -> None:
        self.real = real
        super().__init__(host=real, host_loopback=True)  # type: ignore[arg-type]

    @property
    def now(self) -> float:
        return time.monotonic()

    @now.setter
    def now(self, value: float) -> None: ...

    def run(self, until: Callable[[], bool], limit: float = 5.0) -> None:
        end = self.now + limit
        self.settle()
        while not until():
            assert self.now < end, "it did not happen in time"
            self.real.watcher.run_once(0.002)
            self.step()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) - 1


def main(echo: int) -> None:
    world = RealWorld(RealHost(EpollWatcher()))
    world.up()

    def connect(port: int, data: bytes = b"") -> GuestTcp:
        guest = GuestTcp(world, port=port, remote_port=echo, to_send=data, close=False)
        guest.connect()
        return guest

    tcp_destination(GATEWAY)
    before = descriptors()
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    old = connect(50_000, bytes(range(256)) * 40)
    world.run(lambda: len(old.received) == 10_240)
    for n in range(100):
        connect(50_001 + n)
        world.transmit(build_udp(GUEST, 2000 + n, GATEWAY, 9, b"x"))
        world.transmit(build_icmp(GUEST, bytes((127, 0, 0, 1)), 8, 0, n.to_bytes(2, "big") + b"\0\1", b"ping"))
        world.transmit(build_udp(GUEST, 3000 + n, DNS, 53, b"\1\2\1\0\0\1\0\0\0\0\0\0\1%c\0\0\1\0\1" % (65 + n)))
    world.run(lambda: world.count["tcp.host_is_short"] > 0)
    most = descriptors()
    for guest in world.guests.values():
        guest.timer = float("inf") if not guest.established else guest.timer
    cpu, begun, calls = time.process_time(), time.monotonic(), 0
    while time.monotonic() - begun < 0.5:  # exhausted and idle: nothing may spin
        calls += world.real.watcher.run_once(0.1)
    cpu = time.process_time() - cpu
    old.to_send += b"still here" * 1000
    old.pump()
    world.run(lambda: len(old.received) == 20_240)
    for port in range(50_001, 50_040):
        if port in world.guests and world.guests[port].established:
            world.guests[port].send(4, world.guests[port].nxt)
    world.settle()
    begun = world.now
    fresh = connect(60_000, b"after")
    world.run(lambda: bytes(fresh.received) == b"after", 2.0)
    recovery = world.now - begun
    exact = bytes(old.received) == old.to_send
    world.gateway.close(world.now)
    world.real.close()
    sys.stdout.write(json.dumps({"most": most, "cpu": cpu, "calls": calls, "recovery": recovery, "exact": exact,
                      "left": descriptors() - before, "count": dict(world.count)}))  # fmt: skip


def tcp_destination(address: bytes) -> None:
    """The guest models call 192.0.2.1; here they call the gateway, behind which the host's loopback is."""

    tcp_peer.OUTSIDE = address


if __name__ == "__main__":
    main(int(sys.argv[1]))
