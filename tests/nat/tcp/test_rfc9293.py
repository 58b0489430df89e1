"""nat.tcp.flow segment by segment: what RFC 9293 (and 5961, 7323, 2018, 6298) asks for, one test a rule.

A script plays the guest: `guest(...)` sends one segment and returns what the gateway sends back in that wake-up.
"""

import errno
from collections.abc import Callable

import pytest

from nat.context import Limits
from nat.tcp.flow import CHALLENGE_INTERVAL, TcpFlow
from nat.tcp.flows import NoRoute
from nat.tcp.idle import TIME_WAIT_FOR
from nat.tcp.receiver import RCV_CAPACITY
from nat.tcp.state import State
from nat.wire.tcp import build_segment, parse_sack_blocks, parse_syn_options, sack_option, syn_options
from tests.support.tcp_peer import (
    ACK,
    FIN,
    GUEST,
    OUTSIDE,
    PSH,
    RST,
    SYN,
    DirectLine,
    Segment,
    StreamHost,
    StreamSocket,
    make_table,
)

ISS = 0xFFFFFF00  # wraps early, in every test
MASK = 0xFFFFFFFF


class Script:
    def __init__(self, *, mtu: int = 1500, limits: Limits | None = None, route: Callable[..., object] | None = None):
        self.host = StreamHost()
        self.line = DirectLine(mtu)
        self.table = make_table(self.host, self.line, limits=limits, route=route)
        self.count = self.table.context.count
        self.now = 1000.0
        self.irs = 0
        self.port = 40000

    @property
    def flow(self) -> TcpFlow:
        (flow,) = self.table.flows.values()
        return flow

    @property
    def sock(self) -> StreamSocket:
        return self.host.sockets[-1]

    def out(self) -> list[Segment]:
        """What the gateway has sent since the last look, the wake-up being over."""
        self.table.context.dirty.flush(self.now)
        sent, self.line.sent = self.line.sent, []
        return [Segment(packet) for packet in sent]

    def send(
        self, flags: int, seq: int = 1, ack: int = 1, payload: bytes = b"", *,
        options: bytes = b"", window: int = 30000, urgent: int = 0, remote_port: int = 80,
    ) -> None:  # fmt: skip
        """One segment; seq and ack count from the initial sequence numbers."""
        packet = build_segment(
            GUEST, self.port, OUTSIDE, remote_port, sequence=ISS + seq,
            acknowledgement=self.irs + ack if flags & ACK else 0, flags=flags, window=window, options=options,
            payload=payload, urgent=urgent,
        )  # fmt: skip
        self.table.receive(packet, self.now)

    def guest(self, *args: object, **more: object) -> list[Segment]:
        self.send(*args, **more)  # type: ignore[arg-type]
        return self.out()

    def ready(self) -> list[Segment]:
        self.host.ready(self.now)
        return self.out()

    def wait(self, seconds: float) -> list[Segment]:
        """Let time pass, deadline by deadline."""
        end = self.now + seconds
        found = []
        while (when := self.table.context.deadlines.next()) <= end:
            self.now = max(self.now, when)
            self.table.context.deadlines.expire(self.now)
            found += self.out()
        self.now = end
        return found

    def open(self, *, mss: int | None = 1460, sack: bool = False, scale: int | None = None) -> "Script":
        options = syn_options(mss, scale, sack) if mss is not None else b""
        assert self.guest(SYN, 0, 0, options=options) == []
        (answer,) = self.ready()
        assert answer.flags == SYN | ACK and answer.acknowledgement == (ISS + 1) & MASK
        self.irs = answer.sequence
        assert self.guest(ACK) == []
        assert self.flow.state is State.ESTABLISHED
        self.flow.receiver.quick_acks = 0
        return self


def test_only_the_hosts_success_is_answered() -> None:
    script = Script()
    script.host.connects = False
    assert script.guest(SYN, 0, 0, options=syn_options(1460, None, False)) == []
    assert script.ready() == []
    script.host.connects = True
    script.host.connected.add(script.sock.number)
    (answer,) = script.ready()
    assert answer.flags == SYN | ACK


def test_a_wake_up_before_the_connection_is_decided_changes_nothing() -> None:
    script = Script()
    script.host.connect_failure = errno.EINPROGRESS
    script.guest(SYN, 0, 0)
    assert script.ready() == [] and len(script.table.connecting) == 1
    script.host.connect_failure = 0
    assert script.ready()[0].flags == SYN | ACK


def test_a_repeated_syn_while_connecting_opens_no_second_socket() -> None:
    script = Script()
    script.host.connects = False
    for _ in range(3):
        assert script.guest(SYN, 0, 0) == []
    assert len(script.host.sockets) == 1


def test_a_syn_with_another_isn_while_connecting_replaces_the_first() -> None:
    script = Script()
    script.host.connects = False
    script.guest(SYN, 0, 0)
    script.guest(SYN, 5, 0)
    first, second = script.host.sockets
    assert first.closed and not second.closed
    assert len(script.table.connecting) == 1


def test_rst_then_syn_in_one_batch_opens_anew() -> None:  # passt f984003
    script = Script().open()
    script.send(RST, 1, 0)
    script.send(SYN, 1000, 0)
    script.table.context.dirty.flush(script.now)
    assert script.host.sockets[0].closed and len(script.table.connecting) == 1


def test_rst_while_connecting_closes_the_socket() -> None:
    script = Script()
    script.host.connects = False
    script.guest(SYN, 0, 0)
    assert script.guest(RST, 1, 0) == []
    assert script.sock.closed and not script.table.connecting and not script.sock.writer


@pytest.mark.parametrize("failure", (errno.ECONNREFUSED, errno.ETIMEDOUT))
def test_refusal_and_timeout_are_rst(failure: int) -> None:
    script = Script()
    script.host.connect_failure = failure
    script.guest(SYN, 0, 0)
    (answer,) = script.ready()
    assert answer.flags == RST | ACK and answer.acknowledgement == (ISS + 1) & MASK
    assert not script.table.flows and not script.table.connecting and script.sock.closed


@pytest.mark.parametrize(("failure", "code"), ((errno.ENETUNREACH, 0), (errno.EHOSTUNREACH, 1)))
@pytest.mark.parametrize("at_once", (False, True))
def test_unreachable_is_icmp_and_rst(failure: int, code: int, at_once: bool) -> None:
    script = Script()
    script.host.refuse, script.host.connect_failure = (failure, 0) if at_once else (0, failure)
    script.send(SYN, 0, 0)
    script.host.ready(script.now)
    icmp, reset = script.line.sent
    assert icmp[9] == 1 and icmp[20:22] == bytes((3, code))
    assert icmp[48:56] == build_segment(GUEST, 40000, OUTSIDE, 80, sequence=ISS, flags=SYN)[20:28]
    assert Segment(reset).flags == RST | ACK


@pytest.mark.parametrize("failure", (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
def test_a_host_short_of_descriptors_says_nothing_and_recovers(failure: int) -> None:
    script = Script()
    script.host.refuse = failure
    assert script.guest(SYN, 0, 0) == []
    assert script.count["tcp.host_is_short"] == 1
    script.host.refuse = 0
    script.guest(SYN, 0, 0)
    assert script.ready()[0].flags == SYN | ACK


def test_syn_ack_is_retransmitted_until_acknowledged_and_then_given_up() -> None:
    script = Script()
    script.guest(SYN, 0, 0)
    script.ready()
    again = script.wait(300)
    assert [segment.flags for segment in again] == [SYN | ACK] * 7 + [RST | ACK]
    assert not script.table.flows and script.sock.was_reset


def test_the_syn_again_after_the_answer_gets_the_same_answer() -> None:
    script = Script()
    script.guest(SYN, 0, 0)
    (first,) = script.ready()
    (second,) = script.guest(SYN, 0, 0)
    assert (second.flags, second.sequence) == (first.flags, first.sequence)
    assert len(script.host.sockets) == 1


@pytest.mark.parametrize(
    ("options", "mss"),
    ((b"", 536), (b"\x02\x04\x00\x00", 48), (b"\x02\x04\x00\x01", 48), (b"\x02\x04\xff\xff", 65535),
     (b"\x02\x00\x00\x00", 536), (b"\x02\x01\x00\x00", 536), (b"\x01\x01\x02\x04", 536),
     (b"\xfe\x02\x02\x04\x05\xb4\x00\x00", 1460)),
)  # fmt: skip
def test_mss_absent_absurd_or_malformed(options: bytes, mss: int) -> None:  # MUST-15, MUST-6, MUST-7
    assert parse_syn_options(options).mss == mss


def test_no_segment_is_longer_than_the_mss_or_the_line() -> None:
    script = Script(mtu=576).open(mss=65535)
    script.sock.arriving += bytes(5000)
    assert max(len(segment.payload) for segment in script.ready()) == 536


def test_options_are_offered_only_where_the_guest_offered_them() -> None:
    for scale, sack in ((None, False), (3, True)):
        script = Script()
        script.guest(SYN, 0, 0, options=syn_options(1460, scale, sack))
        (answer,) = script.ready()
        options = parse_syn_options(answer.options)
        assert options.mss == 1460
        assert (options.window_scale is not None) == (scale is not None)
        assert options.sack_permitted == sack
        assert answer.window == 65535


def test_data_goes_to_the_host_and_is_acknowledged() -> None:
    script = Script().open()
    script.send(ACK | PSH, 1, 1, b"abc")
    script.send(ACK | PSH, 4, 1, bytes(1460))
    (answer,) = script.guest(ACK | PSH, 1464, 1, bytes(1460))
    assert answer.acknowledgement == (ISS + 2924) & MASK
    assert script.sock.delivered == b"abc" + bytes(2920)


def test_a_lone_segment_is_acknowledged_within_the_delay() -> None:
    script = Script().open()
    assert script.guest(ACK | PSH, 1, 1, b"abc") == []
    (answer,) = script.wait(0.1)
    assert answer.acknowledgement == (ISS + 4) & MASK


def test_out_of_order_data_is_kept_reported_and_joined() -> None:
    script = Script().open(sack=True)
    (first,) = script.guest(ACK, 101, 1, b"b" * 100)
    assert first.acknowledgement == (ISS + 1) & MASK
    assert parse_sack_blocks(first.options) == [((ISS + 101) & MASK, (ISS + 201) & MASK)]
    (second,) = script.guest(ACK, 301, 1, b"d" * 100)
    assert parse_sack_blocks(second.options)[0] == ((ISS + 301) & MASK, (ISS + 401) & MASK)
    (third,) = script.guest(ACK, 1, 1, b"a" * 100)
    assert third.acknowledgement == (ISS + 201) & MASK
    assert script.sock.delivered == b"a" * 100 + b"b" * 100


def test_of_overlapping_octets_the_first_accepted_win() -> None:
    script = Script().open()
    script.guest(ACK, 11, 1, b"B" * 10)
    script.guest(ACK, 6, 1, b"x" * 20)
    script.guest(ACK, 1, 1, b"A" * 10)
    assert script.sock.delivered == b"A" * 10 + b"B" * 10 + b"x" * 5
    script.guest(ACK, 1, 1, b"y" * 30)
    assert script.sock.delivered == b"A" * 10 + b"B" * 10 + b"x" * 5 + b"y" * 5


def test_many_tiny_pieces_are_bounded() -> None:  # CVE-2018-5390
    script = Script().open()
    for at in range(1000):
        script.guest(ACK, 10 + 2 * at, 1, b"x")
    assert script.count["tcp.ahead_full"] > 800
    assert script.flow.receiver.ahead.size <= 128


def test_the_window_closes_when_the_host_does_not_read_and_is_kept() -> None:
    script = Script().open()
    script.sock.room = 0
    sent = 0
    for _ in range(100):
        size = 1460
        script.guest(ACK, 1 + sent, 1, bytes(size))
        if (ISS + 1 + sent + size) & MASK != script.flow.receiver.rcv_nxt & MASK:
            break
        sent += size
    assert script.flow.receiver.delivery.size <= RCV_CAPACITY
    script.sock.room = 1 << 30
    assert any(segment.flags == ACK for segment in script.ready())
    assert sent <= len(script.sock.delivered) <= RCV_CAPACITY


def test_an_offered_window_is_never_taken_back() -> None:  # SHLD-14
    script = Script().open(scale=7)
    script.sock.room = 0
    edges: list[int] = []
    for at in range(200):
        answers = script.guest(ACK, 1 + 700 * at, 1, bytes(700))
        edges.extend((segment.acknowledgement - ISS & MASK) + (segment.window << 2) for segment in answers)
    assert edges == sorted(edges) and edges[-1] <= 1 + RCV_CAPACITY + 65535


def test_data_past_the_window_is_cut_and_a_closed_window_still_takes_acks() -> None:  # MUST-66
    script = Script().open()
    script.sock.arriving += b"hello"
    script.ready()
    script.sock.room = 0
    at = 1
    while script.flow.receiver.delivery.size < RCV_CAPACITY - 1460:
        script.guest(ACK, at, 1, bytes(1460))
        at += 1460
    script.guest(ACK, at, 1, bytes(1460))
    before = script.flow.receiver.rcv_nxt
    script.guest(ACK, (before - ISS) & MASK, 6, bytes(1460))
    assert script.flow.sender.snd_una == script.flow.sender.snd_nxt
    assert script.flow.receiver.delivery.size <= RCV_CAPACITY
    script.guest(RST, (script.flow.receiver.rcv_nxt - ISS) & MASK)
    assert not script.table.flows


def test_fin_comes_after_all_data_and_shuts_the_host() -> None:
    script = Script().open()
    assert not script.sock.shut
    (answer,) = script.guest(ACK | FIN, 1, 1, b"bye")
    assert answer.acknowledgement == (ISS + 5) & MASK
    assert script.sock.delivered == b"bye" and script.sock.shut


def test_fin_ahead_of_a_gap_waits_for_it() -> None:
    script = Script().open()
    script.guest(ACK | FIN, 4, 1, b"def")
    assert not script.sock.shut
    (answer,) = script.guest(ACK, 1, 1, b"abc")
    assert answer.acknowledgement == (ISS + 8) & MASK
    assert script.sock.delivered == b"abcdef" and script.sock.shut


def test_fin_waits_for_a_host_that_does_not_read() -> None:
    script = Script().open()
    script.sock.room = 2
    script.guest(ACK | FIN, 1, 1, b"abc")
    assert not script.sock.shut
    script.sock.room = 100
    script.ready()
    assert script.sock.shut and script.sock.delivered == b"abc"


def test_half_close_by_the_guest_lets_the_host_go_on() -> None:
    script = Script().open()
    script.guest(ACK | FIN)
    script.sock.arriving += b"still here"
    (data,) = script.ready()
    assert data.payload == b"still here"
    script.guest(ACK, 2, 11)
    script.sock.remote_closed = True
    (fin,) = script.ready()
    assert fin.flags & FIN
    script.guest(ACK, 2, 12)
    assert not script.table.flows and script.sock.closed and not script.sock.was_reset


def test_half_close_by_the_host_lets_the_guest_go_on_and_waits() -> None:
    script = Script().open()
    script.sock.remote_closed = True
    (fin,) = script.ready()
    assert fin.flags == FIN | ACK
    script.guest(ACK, 1, 2)
    script.guest(ACK, 1, 2, b"more")
    assert script.sock.delivered == b"more"
    (answer,) = script.guest(ACK | FIN, 5, 2)
    assert answer.acknowledgement == (ISS + 6) & MASK
    assert script.flow.state is State.TIME_WAIT and script.sock.closed
    script.wait(TIME_WAIT_FOR + 1)
    assert not script.table.flows


def test_simultaneous_close() -> None:  # RFC 9293 figure 13
    script = Script().open()
    script.sock.remote_closed = True
    script.ready()
    (answer,) = script.guest(ACK | FIN, 1, 1)
    assert answer.acknowledgement == (ISS + 2) & MASK
    script.guest(ACK, 2, 2)
    assert script.flow.state is State.TIME_WAIT


def test_a_fin_again_in_time_wait_is_acknowledged_again() -> None:
    script = Script().open()
    script.sock.remote_closed = True
    script.ready()
    script.guest(ACK | FIN, 1, 2)
    (answer,) = script.guest(ACK | FIN, 1, 2)
    assert answer.acknowledgement == (ISS + 2) & MASK
    assert script.flow.state is State.TIME_WAIT


@pytest.mark.parametrize(("seq", "opens"), ((5000, True), (0, False)))
def test_a_syn_in_time_wait_opens_anew_if_its_isn_is_larger(seq: int, opens: bool) -> None:  # MAY-2
    script = Script().open()
    script.sock.remote_closed = True
    script.ready()
    script.guest(ACK | FIN, 1, 2)
    script.guest(SYN, seq, 0)
    assert bool(script.table.connecting) == opens


@pytest.mark.parametrize(("seq", "ends", "answers"), ((1, True, 0), (100, False, 1), (200_000, False, 0)))
def test_rst_exact_in_window_and_out_of_window(seq: int, ends: bool, answers: int) -> None:  # RFC 5961 section 3.2
    script = Script().open()
    assert len(script.guest(RST, seq, 0)) == answers
    assert (not script.table.flows) == ends
    assert script.sock.was_reset == ends


def test_syn_in_established_gets_a_challenge_ack() -> None:  # RFC 5961 section 4.2
    script = Script().open()
    (answer,) = script.guest(SYN, 100, 0)
    assert answer.flags == ACK and answer.acknowledgement == (ISS + 1) & MASK
    assert script.guest(SYN, 100, 0) == [], "challenges are limited"
    script.now += CHALLENGE_INTERVAL
    assert len(script.guest(SYN, 100, 0)) == 1


def test_ack_of_what_was_never_sent_is_answered_and_dropped() -> None:
    script = Script().open()
    (answer,) = script.guest(ACK, 1, 1000, b"data")
    assert answer.flags == ACK and answer.acknowledgement == (ISS + 1) & MASK
    assert not script.sock.delivered


def test_ack_in_syn_received_of_another_sequence_is_reset() -> None:
    script = Script()
    script.guest(SYN, 0, 0)
    script.irs = script.ready()[0].sequence
    (answer,) = script.guest(ACK, 1, 500)
    assert answer.flags == RST and answer.sequence == (script.irs + 500) & MASK


def test_keep_alive_of_the_guest_is_answered_and_is_no_duplicate_ack() -> None:  # passt 238c69f
    script = Script().open()
    script.sock.arriving += b"x"
    script.ready()
    script.sock.arriving += b"y"
    script.ready()
    (answer,) = script.guest(ACK, 0, 1)
    assert answer.flags == ACK and answer.acknowledgement == (ISS + 1) & MASK
    for _ in range(5):
        assert all(not segment.payload for segment in script.guest(ACK, 0, 1))
    assert not script.count["tcp.fast_retransmit"]


def test_urgent_data_is_delivered_inline() -> None:
    script = Script().open()
    script.guest(ACK | 0x20, 1, 1, b"!abc", urgent=1)
    script.guest(ACK | 0x20, 5, 1, b"d", urgent=0)  # CVE-2019-12255
    script.guest(ACK | 0x20, 6, 1, b"e", urgent=60000)  # CVE-2021-31400
    assert script.sock.delivered == b"!abcde"


def test_a_bad_checksum_is_dropped_and_counted() -> None:  # MUST-3
    script = Script().open()
    packet = bytearray(build_segment(GUEST, 40000, OUTSIDE, 80, sequence=ISS + 1, acknowledgement=script.irs + 1,
                                     flags=ACK, payload=b"data"))  # fmt: skip
    packet[-1] ^= 1
    script.table.receive(bytes(packet), script.now)
    assert script.out() == [] and not script.sock.delivered
    assert script.count["tcp.bad_checksum"] == 1


@pytest.mark.parametrize("offset", (0, 1, 4, 7, 15))
def test_a_data_offset_that_lies_is_dropped(offset: int) -> None:
    script = Script().open()
    packet = bytearray(build_segment(GUEST, 40000, OUTSIDE, 80, sequence=ISS + 1, flags=ACK))
    packet[32] = offset << 4
    packet[36:38] = b"\0\0"
    pseudo = bytes(packet[12:20]) + b"\0\x06" + (len(packet) - 20).to_bytes(2, "big")
    from nat.wire.checksum import checksum

    packet[36:38] = checksum(pseudo + bytes(packet[20:])).to_bytes(2, "big")
    script.table.receive(bytes(packet), script.now)
    assert script.out() == []
    assert script.count["tcp.bad_offset"] == 1


@pytest.mark.parametrize("ports", ((0, 80), (40000, 0)))
def test_port_zero_is_dropped(ports: tuple[int, int]) -> None:  # passt 61c0b0d
    script = Script()
    script.table.receive(build_segment(GUEST, ports[0], OUTSIDE, ports[1], sequence=1, flags=SYN), script.now)
    assert script.out() == [] and not script.host.sockets
    assert script.count["tcp.port_zero"] == 1


@pytest.mark.parametrize(
    ("flags", "answer"), ((ACK, RST), (FIN | ACK, RST), (0, RST | ACK), (FIN, RST | ACK), (SYN | ACK, RST), (RST, None))
)
def test_a_segment_without_a_flow_is_reset_but_never_a_rst(flags: int, answer: int | None) -> None:
    script = Script()
    assert [segment.flags for segment in script.guest(flags, 1, 1)] == ([] if answer is None else [answer])
    assert not script.host.sockets


@pytest.mark.parametrize(("route", "answers"), ((NoRoute.REFUSED, 1), (NoRoute.SILENT, 0)))
def test_a_denied_destination_makes_no_socket(route: NoRoute, answers: int) -> None:  # MUST-57
    script = Script(route=lambda line, address, port: route)
    assert len(script.guest(SYN, 0, 0)) == answers
    assert not script.host.sockets


def test_an_error_of_the_host_is_rst_to_the_guest() -> None:
    script = Script().open()
    script.sock.failure = errno.ECONNRESET
    (answer,) = script.ready()
    assert answer.flags == RST | ACK and answer.sequence == (script.irs + 1) & MASK
    assert not script.table.flows and script.sock.closed and not script.sock.reader


def test_epipe_on_the_way_to_the_host_is_rst() -> None:
    script = Script().open()
    script.sock.failure = errno.EPIPE
    answers = script.guest(ACK, 1, 1, b"data")
    assert [segment.flags for segment in answers] == [RST | ACK]


def test_retransmission_backs_off_and_gives_up_after_minutes() -> None:  # RFC 6298, R2 of at least 100 s
    script = Script().open()
    start = script.now
    script.sock.arriving += b"data"
    script.ready()
    segments = script.wait(3000)
    assert all(segment.payload == b"data" for segment in segments[:-1])
    assert segments[-1].flags == RST | ACK
    assert not script.table.flows and script.sock.was_reset
    assert script.now - start > 100


def test_three_duplicate_acks_retransmit_at_once() -> None:  # RFC 5681 section 3.2
    script = Script().open()
    script.sock.arriving += bytes(5 * 1460)
    sent = script.ready()
    assert len(sent) == 5
    assert script.guest(ACK) == [] and script.guest(ACK) == []
    (again,) = script.guest(ACK)
    assert again.sequence == sent[0].sequence and again.payload == sent[0].payload


def test_sack_retransmits_just_the_hole() -> None:  # RFC 6675
    script = Script().open(sack=True)
    script.sock.arriving += bytes(range(250)) * 30
    sent = script.ready()
    block = (sent[2].sequence, (sent[4].sequence + len(sent[4].payload)) & MASK)
    again = script.guest(ACK, 1, 1, options=sack_option([block]))
    assert [segment.sequence for segment in again] == [sent[0].sequence, sent[1].sequence]


def test_a_window_closed_for_hours_is_probed_and_survives() -> None:  # MUST-36, MUST-37
    script = Script().open()
    script.guest(ACK, window=0)
    script.sock.arriving += b"data"
    assert script.ready() == []
    probes = 0
    for _ in range(24 * 60):
        for _segment in script.wait(60):
            probes += 1
            script.guest(ACK, window=0)
    assert script.table.flows and probes > 1000
    (data,) = script.guest(ACK, window=1000)
    assert data.payload == b"data"


def test_a_shrinking_window_is_survived_and_old_data_sent_again() -> None:  # MUST-34
    script = Script().open()
    script.sock.arriving += bytes(4000)
    sent = script.ready()
    script.guest(ACK, window=100)
    script.sock.arriving += b"more"
    assert all(segment.sequence in [old.sequence for old in sent] for segment in script.wait(5))
    assert script.guest(ACK, 1, 4001, window=30000)[-1].payload == b"more"


def test_silly_windows_are_avoided() -> None:  # RFC 9293 section 3.8.6.2.1
    script = Script().open()
    script.sock.arriving += bytes(50_000)
    script.ready()
    sent = script.flow.sender.snd_nxt - script.irs - 1
    segments = script.guest(ACK, 1, 1 + sent, window=100)
    assert segments == []


def test_an_idle_connection_ends_after_two_hours_and_four_minutes() -> None:  # RFC 5382 REQ-5
    script = Script().open()
    assert script.wait(7439) == []
    assert script.table.flows
    (reset,) = script.wait(2)
    assert reset.flags == RST | ACK and not script.table.flows


def test_a_guest_that_never_closes_what_the_host_has_closed_is_waited_for_for_minutes() -> None:
    script = Script().open()
    script.sock.remote_closed = True
    script.ready()
    script.guest(ACK, 1, 2)
    assert script.wait(239) == [] and script.table.flows
    (reset,) = script.wait(2)
    assert reset.flags == RST | ACK and not script.table.flows


def test_a_guest_that_has_said_all_may_wait_for_its_answer() -> None:
    script = Script().open()
    script.guest(ACK | FIN)
    script.wait(3600)
    script.sock.arriving += b"at last"
    assert script.ready()[0].payload == b"at last"


def test_traffic_keeps_an_idle_connection() -> None:
    script = Script().open()
    script.wait(7000)
    script.guest(ACK, 1, 1, b"x")
    script.wait(7000)
    assert script.table.flows


def test_flows_and_half_open_connections_are_bounded() -> None:
    script = Script(limits=Limits(tcp_flows=3, tcp_connecting=2))
    script.host.connects = False
    for port in range(40000, 40010):
        script.port = port
        script.guest(SYN, 0, 0)
    assert len(script.host.sockets) == 2
    assert script.count["tcp.too_many"] == 8


def test_a_forward_calls_the_guest() -> None:
    script = Script()
    sock = StreamSocket(5)
    script.host.sockets.append(sock)
    gateway = bytes((10, 0, 2, 2))
    assert script.table.call(sock, gateway, 22, script.now)  # type: ignore[arg-type]
    (syn,) = script.out()
    assert syn.flags == SYN and syn.port == 22 and syn.source == gateway
    answer = build_segment(GUEST, 22, gateway, syn.source_port, sequence=ISS, acknowledgement=syn.sequence + 1,
                           flags=SYN | ACK, window=30000, options=syn_options(1460, None, False))  # fmt: skip
    script.table.receive(answer, script.now)
    (ack,) = script.out()
    assert ack.flags == ACK and ack.acknowledgement == (ISS + 1) & MASK
    sock.arriving += b"SSH-2.0"
    (data,) = script.ready()
    assert data.payload == b"SSH-2.0"


def test_a_forward_that_the_guest_refuses_is_reset() -> None:
    script = Script()
    sock = StreamSocket(5)
    script.host.sockets.append(sock)
    gateway = bytes((10, 0, 2, 2))
    script.table.call(sock, gateway, 22, script.now)  # type: ignore[arg-type]
    (syn,) = script.out()
    refusal = build_segment(GUEST, 22, gateway, syn.source_port, sequence=0, acknowledgement=syn.sequence + 1,
                            flags=RST | ACK)  # fmt: skip
    script.table.receive(refusal, script.now)
    assert sock.was_reset and sock.closed and not script.table.flows


def test_a_link_that_comes_back_asks_each_connection() -> None:
    script = Script().open()
    script.table.probe(script.now)
    (probe,) = script.out()
    assert probe.flags == ACK and probe.sequence == script.irs and not probe.payload
    script.guest(RST, 1, 0)
    assert not script.table.flows


def test_a_guest_that_was_not_ready_is_asked_again_and_one_that_answers_is_left_alone() -> None:
    script = Script().open()
    script.table.probe(script.now)
    script.out()
    assert [probe.flags for probe in script.wait(4)] == [ACK, ACK]
    script.guest(ACK)
    assert script.wait(600) == [] and script.table.flows


def test_a_guest_that_never_answers_is_given_up() -> None:
    script = Script().open()
    script.table.probe(script.now)
    script.out()
    assert [segment.flags for segment in script.wait(70)] == [ACK] * 5 + [RST | ACK]
    assert not script.table.flows and script.sock.was_reset


def test_questions_rest_while_the_link_is_down() -> None:
    script = Script().open()
    script.table.probe(script.now)
    script.out()
    script.line.up = False
    assert script.wait(300) == [] and script.table.flows


def test_keep_alive_is_optional() -> None:  # RFC 9293 section 3.8.4
    script = Script(limits=Limits(tcp_keepalive=100)).open()
    assert script.wait(99) == []
    probe, again = script.wait(2)
    assert probe.flags == again.flags == ACK and probe.sequence == script.irs
    script.guest(ACK)
    assert script.wait(95) == [] and script.wait(10)


def test_every_segment_of_random_bytes_is_survived() -> None:
    from random import Random

    random = Random(11)
    script = Script().open()
    for _ in range(20_000):
        packet = bytearray(build_segment(GUEST, 40000, OUTSIDE, 80, sequence=ISS + random.randrange(-3, 2000),
                                         acknowledgement=script.irs + random.randrange(-3, 50),
                                         flags=random.getrandbits(6) & ~RST, window=random.getrandbits(16),
                                         options=random.randbytes(4 * random.randrange(10)),
                                         payload=random.randbytes(random.randrange(60))))  # fmt: skip
        script.table.receive(bytes(packet), script.now)
        script.host.ready(script.now)
        script.out()
        script.wait(0.01)
        assert len(script.table.flows) <= 1
