"""A host that is out of descriptors, out of memory or without a network."""

import errno
import json
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hostile_inputs import echo, query, udp
from tests.support.serial_world import DNS, OUTSIDE, Canary, SerialWorld
from tests.support.tcp_peer import GuestTcp, StreamSocket

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@pytest.fixture
def echo_port() -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def serve(sock: socket.socket) -> None:
        with sock:
            try:
                while data := sock.recv(65536):
                    sock.sendall(data)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.mark.timing
def test_sixty_four_descriptors(echo_port: int) -> None:
    """After vpnkit #406, with real sockets: no exit, no spinning, what stands goes on, and is well a second after."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.exhausted_gateway", str(echo_port)],
        capture_output=True, text=True, timeout=60, cwd=root,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["exact"] and seen["most"] <= 64 and seen["left"] == 0, seen
    assert seen["recovery"] <= 1.0 and seen["cpu"] < 0.05 * 0.5 and seen["calls"] < 60, seen
    assert seen["count"]["tcp.host_is_short"] and seen["count"]["dns.no_socket"], seen


SITES = ("connect", "connected", "udp", "udp send", "udp receive", "ping", "ping send", "ping receive", "dns",
         "dns send", "dns receive", "accept")  # fmt: skip


@pytest.mark.parametrize("failure", EXHAUSTED, ids=errno.errorcode.get)
@pytest.mark.parametrize("site", SITES)
def test_every_errno_at_every_system_call(site: str, failure: int) -> None:
    """After passt ec416fd: an error on the way leaves no flow half made, and the next try works."""
    world = SerialWorld()
    world.up()
    canary = Canary(world)
    host, other = world.host, world.host.other
    count, before = world.count, len(host.open())
    world.gateway.forwards.add("tcp", "127.0.0.1", 8080, world.station.line.address, 80)
    listener = other.sockets[-1]

    def send(packet: bytes) -> None:
        world.transmit(packet)
        world.settle()

    guest = GuestTcp(world, port=41_000)
    if site in ("connect", "connected"):
        setattr(host, "refuse" if site == "connect" else "connect_failure", failure)
        guest.connect()
        world.settle()
        assert not guest.established and not guest.reset and len(host.open()) == before + 1
        host.refuse = host.connect_failure = 0
        world.run(lambda: guest.established, 1.5)
    elif site == "accept":
        listener.callers.extend((failure, StreamSocket(next(host.numbers))))  # type: ignore[arg-type]
        host.sockets.append(listener.callers[1])  # type: ignore[arg-type]
        host.readers[listener.fd](world.now)
        assert listener.fd not in host.readers, "a listener that cannot accept wakes forever"
        world.wait(1.1)
        assert world.count["forward.tcp_accepted"] == 1 and listener.fd in host.readers
    else:
        kind, _, step = site.partition(" ")
        packet = {"udp": udp(), "ping": echo(), "dns": query(b"\1a\0")}[kind]
        if step:
            send(packet)
            (sock,) = [each for each in other.open() if each is not listener]
            if step == "send":
                if kind == "dns":
                    sock.incoming.append(failure)  # asks the next, whose send fails
                    send(b"")
                else:
                    sock.failures.append(failure)
            else:
                sock.incoming.append(failure)
        else:
            other.fail["connect_udp" if kind == "dns" else kind] = deque([failure])
        send(packet)
        sock = other.open()[-1]
        assert len(other.open()) <= 2
        send(packet)
    assert sum((world.count - count).values()) >= 1
    canary.finish()


def test_the_network_goes_away_and_comes_back() -> None:
    world = SerialWorld()
    world.up()
    host = world.host
    for failure, code in ((errno.ENETUNREACH, 0), (errno.EHOSTUNREACH, 1)):
        host.refuse = failure
        guest = GuestTcp(world, port=42_000 + failure)
        world.packets.clear()
        guest.connect()
        world.settle()
        assert guest.reset and world.packets[0][20:22] == bytes((3, code))
    host.refuse = errno.EADDRNOTAVAIL
    guest = GuestTcp(world, port=43_000)
    guest.connect()
    world.settle()
    other = host.other
    other.fail["connect_udp"] = deque([errno.ENETUNREACH] * 30)
    world.packets.clear()
    world.transmit(query(b"\1a\0"))
    world.wait(1)
    (answer,) = world.packets
    assert answer[12:16] == DNS and answer[31] & 15 == 2, "SERVFAIL"
    world.wait(59)
    host.refuse = 0
    other.fail.clear()
    begun = world.now
    fresh = GuestTcp(world, port=44_000)
    fresh.connect()
    world.run(lambda: fresh.established, 1.0)
    assert world.now - begun <= 1.0 and host.targets[-1] == (OUTSIDE, 80)
