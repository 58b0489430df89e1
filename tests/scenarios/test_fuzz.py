"""Arbitrary and nearly right input for every parser, through a whole gateway.

Whatever comes, nothing is raised, it takes less than a moment, and a connection that was open stays exact.
"""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lcp.auth.secrets import Anyone
from lcp.config import Credentials, LinkConfig
from lcp.packet import build
from nat.wire.icmp import build_icmp
from nat.wire.ipv4 import build_ipv4
from nat.wire.tcp import build_segment
from nat.wire.udp import build_udp
from tests.support.hostile_inputs import mended, tcp
from tests.support.serial_world import DNS, GATEWAY, GUEST, OUTSIDE, Canary, SerialWorld

pytestmark = pytest.mark.untraced  # they take long, and what they reach has tests of its own

octets = st.binary(max_size=200)
short = st.binary(max_size=12)
byte = st.integers(0, 255)
destination = st.sampled_from((OUTSIDE, OUTSIDE, GATEWAY, DNS, GUEST, bytes((127, 0, 0, 1)), b"\xff" * 4))
port = st.sampled_from((0, 1, 7, 53, 80, 61234, 65535))


@st.composite
def option_list(draw: st.DrawFn) -> bytes:
    """Options as LCP and IPCP have them, some with lengths that lie."""
    out = b""
    for _ in range(draw(st.integers(0, 6))):
        value = draw(short)
        length = draw(st.sampled_from((2 + len(value), 2 + len(value), 2 + len(value), 0, 1, 255)))
        out += bytes((draw(st.sampled_from((0, 1, 2, 3, 4, 5, 7, 8, 13, 129, 130, 131, 132, 255))), length)) + value
    return out


@st.composite
def control(draw: st.DrawFn, protocol: int) -> tuple[int, bytes]:
    data = draw(st.one_of(octets, option_list()))
    packet = build(draw(st.one_of(st.integers(0, 14), byte)), draw(byte), data)
    if draw(st.booleans()):
        return protocol, packet
    return protocol, packet[:2] + draw(st.integers(0, 65535)).to_bytes(2, "big") + packet[4:]


@st.composite
def segment(draw: st.DrawFn) -> tuple[int, bytes]:
    options = draw(st.binary(max_size=40))
    options += bytes(-len(options) % 4)
    return 0x21, build_segment(
        GUEST, draw(port), draw(destination), draw(port),
        sequence=draw(st.integers(0, 2**32 - 1)), acknowledgement=draw(st.integers(0, 2**32 - 1)),
        flags=draw(st.integers(0, 63)), window=draw(st.integers(0, 65535)), options=options[:40],
        payload=draw(octets), urgent=draw(st.integers(0, 65535)),
    )  # fmt: skip


@st.composite
def fragment(draw: st.DrawFn) -> tuple[int, bytes]:
    piece = draw(st.binary(max_size=64))
    field = draw(st.integers(0, 20)) | draw(st.sampled_from((0, 0x2000)))
    protocol = draw(st.sampled_from((1, 6, 17, 99)))
    return 0x21, build_ipv4(
        GUEST, draw(destination), protocol, piece, identification=draw(st.integers(0, 2)), flags=field
    )


@st.composite
def header(draw: st.DrawFn) -> tuple[int, bytes]:
    packet = bytearray(build_ipv4(GUEST, draw(destination), draw(byte), draw(octets)))
    for _ in range(draw(st.integers(0, 3))):
        packet[draw(st.integers(0, 19))] = draw(byte)
    whole = bytes(packet)
    return 0x21, mended(whole) if draw(st.booleans()) and (packet[0] & 15) * 4 <= len(packet) else whole


@st.composite
def dns(draw: st.DrawFn) -> tuple[int, bytes]:
    message = draw(
        st.one_of(
            octets,
            st.builds(
                lambda flags, name, rest: b"\1\2" + flags + b"\0\1" + bytes(6) + name + rest,
                st.binary(min_size=2, max_size=2),
                octets,
                short,
            ),  # fmt: skip
        )
    )
    return 0x21, build_udp(GUEST, draw(port), DNS, 53, message)


icmp = st.builds(
    lambda to, kind, code, rest, payload: (0x21, build_icmp(GUEST, to, kind, code, rest, payload)),
    destination, byte, byte, st.binary(min_size=4, max_size=4), octets,
)  # fmt: skip
datagram = st.builds(
    lambda to, sport, dport, payload: (0x21, build_udp(GUEST, sport, to, dport, payload)),
    destination, port, port, octets,
)  # fmt: skip
numbers = st.sampled_from((0x21, 0x57, 0x8021, 0xC021, 0xC023, 0xC223, 0x80FD, 0x2D, 0xFD, 1, 0xFFFF))
anything = st.tuples(numbers, octets)

TARGETS: dict[str, st.SearchStrategy[tuple[int, bytes]]] = {
    "LCP": control(0xC021),
    "IPCP": control(0x8021),
    "PAP": control(0xC023),
    "CHAP": control(0xC223),
    "IP": header(),
    "TCP": segment(),
    "UDP": datagram,
    "ICMP": icmp,
    "DNS": dns(),
    "fragments": fragment(),
    "protocols": anything,
}


@pytest.mark.parametrize("target", TARGETS)
def test_any_frames(target: str) -> None:
    auth = target in ("PAP", "CHAP")
    config = LinkConfig(auth=Anyone()) if auth else LinkConfig()
    guest = LinkConfig(credentials=Credentials(b"bob", b"x")) if auth else LinkConfig()

    @settings(max_examples=20, deadline=None, database=None, derandomize=True,
              suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])  # fmt: skip
    @given(st.lists(TARGETS[target], min_size=1, max_size=12))
    def run(frames: list[tuple[int, bytes]]) -> None:
        world = SerialWorld(config=config, guest_config=guest)
        world.up()
        canary = Canary(world, 4000)
        begun = time.process_time()
        for protocol, information in frames:
            world.octets(b"~" + world.end.framer.frame(protocol, information))
        world.settle()
        assert time.process_time() - begun < 0.1 * len(frames) + 0.2
        world.end.link.down(world.now)  # whatever became of the link, it is there for the next call
        world.end.link.up(world.now)
        world.up(120)
        canary.finish()

    run()


@settings(max_examples=40, deadline=None, database=None, derandomize=True)
@given(st.lists(st.binary(max_size=300), max_size=20))
def test_any_octets(pieces: list[bytes]) -> None:
    world = SerialWorld()
    world.up()
    canary = Canary(world, 4000)
    for piece in pieces:
        world.octets(piece)
        world.settle()
    world.octets(b"~")
    canary.finish()


@settings(max_examples=40, deadline=None, database=None, derandomize=True)
@given(st.data())
def test_segments_of_the_canary_itself(data: st.DataObject) -> None:
    """Nearly right sequence numbers: whatever a guest does to its own connection, the gateway stands."""
    world = SerialWorld()
    world.up()
    canary = Canary(world, 4000)
    victim, sock = world.connect(port=40_000, close=False)
    victim.receive = lambda segment: None  # type: ignore[method-assign]
    victim.timer = float("inf")
    sock.arriving += bytes(3000)
    around = st.sampled_from((-2, -1, 0, 1, 2, 1000, 65535, 131072, 1 << 31))
    for _ in range(data.draw(st.integers(1, 15))):
        options = data.draw(st.sampled_from((b"", b"\1\1\5\x0a" + bytes(8), b"\2\0\0\0", b"\5\1\0\0", b"\xff" * 8)))
        world.transmit(
            build_segment(
                GUEST, 40_000, OUTSIDE, 80,
                sequence=victim.iss + victim.nxt + data.draw(around),
                acknowledgement=victim.irs + victim.rcv_nxt + data.draw(around),
                flags=data.draw(st.sampled_from((0, 1, 2, 4, 16, 17, 18, 20, 24, 48, 63))),
                window=data.draw(st.sampled_from((0, 1, 536, 65535))),
                options=options, payload=data.draw(st.binary(max_size=50)),
            )
        )  # fmt: skip
        world.settle()
        world.wait(data.draw(st.sampled_from((0.0, 0.05, 1.0, 60.0))))
    world.transmit(tcp(4, sport=40_000, sequence=victim.iss + victim.nxt))
    canary.finish()


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(st.lists(st.binary(max_size=120), max_size=8))
def test_any_answers_of_a_resolver(replies: list[bytes]) -> None:
    world = SerialWorld()
    world.up()
    world.transmit(build_udp(GUEST, 3000, DNS, 53, b"\1\2\1\0\0\1" + bytes(6) + b"\1a\0\0\1\0\1"))
    world.settle()
    (sock,) = world.host.other.open()
    ((message, _),) = sock.sent
    for n, reply in enumerate(replies):
        whole = message[:2] + reply if n % 2 else reply
        sock.incoming.append((whole, ("127.0.0.53", 53)))
    world.settle()
    world.wait(10)
    assert not world.host.other.open() and len(world.packets) == 1
