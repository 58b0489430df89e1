"""Where a packet of a guest leads: to the relay of names, to a forward's caller, outside; and how long flows wait.

The numbers are written here as they are meant, and not taken from the code.
"""

import pytest

from nat.wire.tcp import SYN
from nat.wire.udp import build_udp
from tests.support.hostile_inputs import tcp, with_options
from tests.support.serial_world import DNS, GATEWAY, GUEST, OUTSIDE, SerialWorld

RESOLVER = (bytes((127, 0, 0, 53)), 53)
QUERY = b"\1\2\1\0\0\1\0\0\0\0\0\0\4host\0\0\1\0\1"


def connected() -> SerialWorld:
    world = SerialWorld()
    world.up()
    return world


def asked(world: SerialWorld, packet: bytes) -> bool:
    """Whether a packet of the guest makes the gateway ask a resolver."""
    before = len(world.host.other.asked)
    world.transmit(packet)
    world.settle()
    return len(world.host.other.asked) > before


@pytest.mark.parametrize(
    ("destination", "port", "relayed"),
    [
        (DNS, 53, True),
        (DNS, 52, False),
        (DNS, 54, False),
        (DNS, 53 << 8, False),  # the octets the other way round
        (DNS, 53 + 256, False),
        (GATEWAY, 53, False),
        (OUTSIDE, 53, False),
    ],
)
def test_only_port_53_of_the_name_servers_address_is_relayed(destination: bytes, port: int, relayed: bool) -> None:
    world = connected()
    assert asked(world, build_udp(GUEST, 3000, destination, port, QUERY)) == relayed
    assert bool(world.host.other.open()) == (relayed or destination == OUTSIDE)


def test_a_query_with_ip_options_is_relayed_too() -> None:
    world = connected()
    assert asked(world, with_options(build_udp(GUEST, 3000, DNS, 53, QUERY), b"\1\1\1\0"))


@pytest.mark.parametrize(
    ("destination", "port", "target"),
    [
        (DNS, 53, RESOLVER),
        (DNS, 52, None),
        (DNS, 54, None),
        (DNS, 53 << 8, None),
        (GATEWAY, 53, None),
        (OUTSIDE, 53, (OUTSIDE, 53)),
    ],
)
def test_where_tcp_to_a_name_server_leads(destination: bytes, port: int, target: tuple[bytes, int] | None) -> None:
    world = connected()
    world.transmit(tcp(SYN, destination=destination, dport=port))
    world.settle()
    assert world.host.targets == ([] if target is None else [target])


class Forwarded:
    """A caller at 192.0.2.77 port 5555 of a forward to the guest's port 80."""

    def __init__(self) -> None:
        self.world = world = connected()
        assert world.gateway.forwards is not None
        world.gateway.forwards.add("udp", "127.0.0.1", 8080, GUEST, 80)
        self.listener = world.host.other.sockets[-1]
        self.listener.incoming.append((b"question", ("192.0.2.77", 5555)))
        world.settle()
        (packet,) = world.packets
        assert packet[12:20] == GATEWAY + GUEST
        self.stand_in = int.from_bytes(packet[20:22], "big")
        assert int.from_bytes(packet[22:24], "big") == 80 and packet[28:] == b"question"

    def answers(self, packet: bytes) -> list[bytes]:
        """What goes back to the caller when the guest sends this."""
        self.listener.sent.clear()
        self.world.transmit(packet)
        self.world.settle()
        return [data for data, name in self.listener.sent if name == ("192.0.2.77", 5555)]


def test_what_the_guest_answers_a_caller_goes_back_to_it() -> None:
    forwarded = Forwarded()
    answer = build_udp(GUEST, 80, GATEWAY, forwarded.stand_in, b"answer")
    assert forwarded.answers(answer) == [b"answer"]
    assert forwarded.answers(with_options(answer, b"\1\1\1\0")) == [b"answer"]
    assert forwarded.answers(build_udp(GUEST, 80, GATEWAY, forwarded.stand_in, b"")) == [b""]
    assert not any(name.startswith("policy.") for name in forwarded.world.count)


@pytest.mark.parametrize(
    ("sport", "destination", "off"),
    [(81, GATEWAY, 0), (79, GATEWAY, 0), (80, GATEWAY, 1), (80, GATEWAY, -1), (80, DNS, 0), (80, OUTSIDE, 0)],
)
def test_what_is_no_answer_to_a_caller_leads_elsewhere(sport: int, destination: bytes, off: int) -> None:
    forwarded = Forwarded()
    assert not forwarded.answers(build_udp(GUEST, sport, destination, forwarded.stand_in + off, b"answer"))
    outside = [sock for sock in forwarded.world.host.other.open() if sock is not forwarded.listener]
    assert bool(outside) == (destination == OUTSIDE)
    denied = sum(number for name, number in forwarded.world.count.items() if name.startswith("policy."))
    assert denied == (destination != OUTSIDE)


@pytest.mark.parametrize(("seconds", "kept"), [(1, True), (599, True), (601, False)])
def test_the_flows_of_a_guest_that_is_away_wait_ten_minutes(seconds: int, kept: bool) -> None:
    world = connected()
    guest, sock = world.connect(close=False)
    world.hang_up()
    world.settle()
    assert world.session.station is None and world.ended
    world.wait(seconds)
    assert sock.closed != kept and bool(world.gateway.stations) == kept
    world.redial()
    world.up()
    guest.to_send = b"again"
    guest.pump()
    world.wait(5)
    assert (bytes(sock.delivered) == b"again") == kept and guest.reset != kept
