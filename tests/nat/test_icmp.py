"""nat.icmp: what the gateway itself says, and when it must keep quiet (RFC 1122 section 3.2.2)."""

from errno import ECONNREFUSED, EHOSTUNREACH, EINVAL, EMSGSIZE, ENETUNREACH, EPERM

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nat.host import ORIGIN_ICMP, ORIGIN_LOCAL, Fault
from nat.icmp import BURST, RATE, ErrorSender, echo_reply, may_answer
from nat.wire.icmp import build_icmp
from nat.wire.ipv4 import build_ipv4
from tests.support.fakes import GATEWAY, GUEST, ROUTER, SERVER, Bench, echo, fragment_of, udp
from tests.support.oracle import ICMP, IPerror, UDPerror, sound


class Setup(Bench):
    def __init__(self) -> None:
        super().__init__()
        self.errors = ErrorSender(self.context, self.line, GATEWAY)


def fault(errno: int = 0, origin: int = ORIGIN_ICMP, kind: int = 3, code: int = 3, info: int = 0,
          offender: bytes = ROUTER) -> Fault:  # fmt: skip
    return Fault(errno, origin, kind, code, info, offender, SERVER, 6000, b"")


def test_an_error_quotes_the_header_and_eight_octets() -> None:
    setup = Setup()
    packet = udp(b"abcdefgh" * 100, ttl=3)
    assert setup.errors.send(packet, 20, 3, 3, 0.0)
    (out,) = setup.out()
    assert len(out) == 20 + 8 + 28
    read = sound(out)
    assert (read.src, read.dst, read[ICMP].type, read[ICMP].code) == ("10.0.2.2", "10.0.2.15", 3, 3)
    assert bytes(out[28:]) == packet[:28]
    assert (read[IPerror].dst, read[UDPerror].sport, read[UDPerror].dport) == ("203.0.113.7", 5000, 6000)


@pytest.mark.parametrize("words", range(5, 16))
def test_options_in_the_quoted_header_cve_2022_23093(words: int) -> None:
    setup = Setup()
    plain = udp(b"12345678")
    packet = bytes((0x40 + words,)) + plain[1:20] + bytes(words * 4 - 20) + plain[20:]
    assert setup.errors.send(packet, words * 4, 3, 1, 0.0)
    (out,) = setup.out()
    assert out[28:] == packet[: words * 4 + 8]


@pytest.mark.parametrize(
    "packet",
    (
        build_icmp(GUEST, SERVER, 3, 3, bytes(4), bytes(28)),  # about an error
        build_icmp(GUEST, SERVER, 11, 0, bytes(4), bytes(28)),
        build_icmp(GUEST, SERVER, 4, 0, bytes(4), bytes(28)),
        build_icmp(GUEST, SERVER, 99, 0, bytes(4), bytes(28)),  # what is not known to be a query
        fragment_of(bytes(64), 64, more=True),  # a fragment that is not the first
        udp(destination=b"\xff\xff\xff\xff"),
        udp(destination=b"\xe0\0\0\1"),
        udp(source=bytes(4)),
        udp(source=b"\x7f\0\0\1"),
        udp(source=b"\xe0\0\0\1"),
        udp(source=b"\xff\xff\xff\xff"),
        udp()[:27],  # nothing to recognise it by
    ),
)
def test_no_error_about(packet: bytes) -> None:
    setup = Setup()
    assert not may_answer(packet, 20)
    assert not setup.errors.send(packet, 20, 3, 3, 0.0)
    assert setup.out() == [] and setup.count["icmp.error_not_due"] == 1


@pytest.mark.parametrize("packet", (udp(), echo(), fragment_of(bytes(64), 0, more=True)))
def test_errors_about(packet: bytes) -> None:
    assert may_answer(packet, 20)


def test_a_flood_of_errors_is_held_to_the_rate() -> None:
    setup = Setup()
    sent = sum(setup.errors.send(udp(), 20, 3, 3, step / 1000) for step in range(10_000))
    assert BURST <= sent <= BURST + 10 * RATE
    assert setup.count["icmp.error_rate"] == 10_000 - sent
    assert setup.errors.send(udp(), 20, 3, 3, 20.0)


@pytest.mark.parametrize(("kind", "code"), ((3, 0), (3, 1), (3, 3), (3, 9), (3, 13), (11, 0), (11, 1), (12, 0)))
def test_what_came_by_icmp_keeps_its_type_code_and_sender(kind: int, code: int) -> None:
    setup = Setup()
    packet = udp()
    assert setup.errors.relay(packet, 20, fault(kind=kind, code=code), 0.0)
    (out,) = setup.out()
    assert (out[12:16], out[20], out[21]) == (ROUTER, kind, code)


@pytest.mark.parametrize(
    ("errno", "code"), ((ECONNREFUSED, 3), (EHOSTUNREACH, 1), (ENETUNREACH, 0), (EPERM, 13), (EMSGSIZE, 4))
)
def test_what_the_host_found_out_comes_from_the_gateway(errno: int, code: int) -> None:
    setup = Setup()
    assert setup.errors.relay(udp(), 20, fault(errno, ORIGIN_LOCAL, 0, 0, 1400, b""), 0.0)
    (out,) = setup.out()
    assert (out[12:16], out[20], out[21]) == (GATEWAY, 3, code)
    assert out[24:28] == (b"\0\0\x05\x78" if code == 4 else bytes(4))  # RFC 1191: the next hop's MTU


def test_an_unknown_errno_is_counted() -> None:
    setup = Setup()
    assert not setup.errors.relay(udp(), 20, fault(EINVAL, ORIGIN_LOCAL), 0.0)
    assert setup.out() == [] and setup.count["icmp.error_unknown"] == 1


@pytest.mark.parametrize("offender", (b"", b"\x7f\0\0\1", bytes(4), b"\xe0\0\0\1", b"\xc0\0\2\x02"))
def test_the_hosts_own_addresses_are_not_shown(offender: bytes) -> None:
    setup = Setup()
    setup.host.owned.add(b"\xc0\0\2\x02")
    setup.errors.relay(udp(), 20, fault(offender=offender), 0.0)
    (out,) = setup.out()
    assert out[12:16] == GATEWAY


@pytest.mark.parametrize("size", (0, 1, 56, 1472, 65507))
def test_the_gateway_answers_echo(size: int) -> None:
    request = echo((bytes(range(256)) * 256)[:size], ident=9, sequence=3, destination=GATEWAY)
    reply = echo_reply(request, 20, 77)
    assert reply is not None and len(reply) == len(request)
    read = sound(reply)
    assert (read.src, read.dst, read[ICMP].type, read[ICMP].id, read[ICMP].seq) == ("10.0.2.2", "10.0.2.15", 0, 9, 3)
    assert reply[28:] == request[28:]


def test_no_answer_to_what_is_no_sound_echo() -> None:
    request = echo(destination=GATEWAY)
    assert echo_reply(request[:27], 20) is None
    assert echo_reply(request[:-1] + b"?", 20) is None
    assert echo_reply(echo(kind=0), 20) is None
    assert echo_reply(build_icmp(GUEST, GATEWAY, 8, 1, bytes(4), b""), 20) is None
    assert echo_reply(udp(), 20) is None


@settings(deadline=None)
@given(st.binary(max_size=100), st.integers(5, 15))
def test_a_reply_is_never_longer_than_the_request_cve_2020_10756(data: bytes, words: int) -> None:
    packet = build_ipv4(GUEST, GATEWAY, 1, data)
    reply = echo_reply(packet, words * 4)
    assert reply is None or len(reply) <= len(packet)
    may_answer(packet, words * 4)
