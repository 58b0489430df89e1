"""Edges of TCP beyond tests/nat/tcp/test_rfc9293.py: calls, windows, ends, probes, acknowledgments."""

import errno

import pytest

from nat.tcp.idle import TIME_WAIT_FOR
from nat.tcp.receiver import DELAYED_ACK, RCV_CAPACITY
from nat.tcp.sender import SND_CAPACITY
from nat.tcp.state import State
from nat.wire.tcp import build_segment, parse_sack_blocks, sack_option, syn_options
from tests.nat.tcp.test_rfc9293 import ISS, MASK, Script
from tests.support.tcp_peer import ACK, FIN, GUEST, PSH, RST, SYN, Segment, StreamSocket

GATEWAY = bytes((10, 0, 2, 2))


class Called(Script):
    """A forward's caller: the gateway opens toward the guest's port 22."""

    def __init__(self) -> None:
        super().__init__()
        self.host.sockets.append(StreamSocket(5))
        assert self.table.call(self.sock, GATEWAY, 22, self.now)  # type: ignore[arg-type]
        (self.syn,) = self.out()

    def answer(self, flags: int, seq: int = 0, ack: int = 1, options: bytes = b"", payload: bytes = b"",
               window: int = 30_000) -> list[Segment]:  # fmt: skip
        packet = build_segment(
            GUEST, 22, GATEWAY, self.syn.source_port, sequence=ISS + seq,
            acknowledgement=self.syn.sequence + ack if flags & ACK else 0, flags=flags, window=window,
            options=options, payload=payload,
        )  # fmt: skip
        self.table.receive(packet, self.now)
        return self.out()


def test_both_call_at_the_same_time() -> None:  # RFC 9293 section 3.5, figure 7; MUST-10
    script = Called()
    (answer,) = script.answer(SYN, options=syn_options(1460, None, False))
    assert answer.flags == SYN | ACK and answer.sequence == script.syn.sequence
    assert answer.acknowledgement == (ISS + 1) & MASK
    assert script.answer(ACK, 1) == [] and script.flow.state is State.ESTABLISHED
    script.sock.arriving += b"hello"
    (data,) = script.ready()
    assert data.payload == b"hello" and data.sequence == (script.syn.sequence + 1) & MASK


@pytest.mark.parametrize("ack", (0, 2, 1 << 31))
def test_a_wrong_ack_of_our_syn_is_reset_and_the_call_goes_on(ack: int) -> None:  # section 3.10.7.3
    script = Called()
    (reset,) = script.answer(SYN | ACK, ack=ack)
    assert reset.flags == RST and reset.sequence == (script.syn.sequence + ack) & MASK
    assert script.flow.state.name == "SYN_SENT"
    assert script.answer(RST | ACK, ack=ack) == [] and script.table.flows
    assert script.answer(RST) == [] and script.table.flows  # a RST without ACK says nothing here
    assert script.answer(FIN) == [] and script.table.flows
    (ours,) = script.answer(SYN | ACK, ack=1)
    assert ours.flags == ACK and script.flow.state is State.ESTABLISHED


def test_our_syn_goes_again_with_the_same_number_and_options_until_it_is_given_up() -> None:  # MUST-23
    script = Called()
    begun = script.now
    again = script.wait(300)
    assert {segment.sequence for segment in again[:-1]} == {script.syn.sequence}
    assert all(segment.options == script.syn.options for segment in again if segment.flags == SYN)
    assert again[-1].flags & RST and not script.table.flows and script.sock.closed
    assert len(again) == 8 and script.now - begun > 180


def test_the_guests_scale_and_window_hold_after_a_call() -> None:
    script = Called()
    script.answer(SYN | ACK, options=syn_options(1000, 3, True))
    assert (
        script.flow.sender.snd_scale,
        script.flow.receiver.rcv_scale,
        script.flow.sender.sack,
        script.flow.sender.mss(),
    ) == (3, 2, True, 1000)
    plain = Called()
    plain.answer(SYN | ACK)
    assert (
        plain.flow.sender.snd_scale,
        plain.flow.receiver.rcv_scale,
        plain.flow.sender.sack,
        plain.flow.sender.mss(),
    ) == (0, 0, False, 536)


def test_rst_and_urgent_are_processed_in_a_closed_window() -> None:  # MUST-66
    script = Script().open()
    script.sock.room = 0
    for sent in range(0, RCV_CAPACITY + 1, 32_768):
        script.guest(ACK | PSH, 1 + sent, 1, bytes(32_768))
    edge = script.flow.receiver.rcv_edge - script.flow.receiver.rcv_nxt
    assert script.flow.receiver.delivery.size + edge <= RCV_CAPACITY
    script.guest(ACK | 0x20, script.flow.receiver.rcv_nxt - ISS, 1, b"!", urgent=1)
    assert script.table.flows
    script.guest(RST, script.flow.receiver.rcv_nxt - ISS)
    assert not script.table.flows and script.sock.was_reset


def test_data_is_read_no_faster_than_the_guest_acknowledges() -> None:
    script = Script().open(scale=4)
    script.sock.arriving += bytes(1 << 20)
    for _ in range(200):
        sent = script.flow.sender.snd_nxt - script.flow.sender.snd_una
        assert len(script.flow.sender.unacked) == sent <= SND_CAPACITY
        script.guest(ACK, 1, (script.flow.sender.snd_nxt - script.irs), window=65_535)
    assert (1 << 20) - len(script.sock.arriving) > SND_CAPACITY


def test_an_old_ack_moves_nothing_and_its_data_counts() -> None:
    script = Script().open()
    script.sock.arriving += bytes(1000)
    script.ready()
    script.guest(ACK, 1, 1001, window=20_000)
    script.guest(ACK | PSH, 1, 501, b"late", window=1)
    assert script.flow.sender.snd_wnd == 20_000 and bytes(script.sock.delivered) == b"late"
    assert script.flow.sender.snd_una == script.irs + 1001


def test_an_ack_waits_a_little_for_company_and_two_segments_do_not() -> None:  # section 3.8.6.3, MUST-58, SHLD-18
    script = Script().open()
    assert script.guest(ACK | PSH, 1, 1, b"x" * 100) == []
    (late,) = script.wait(DELAYED_ACK)
    assert late.acknowledgement == (ISS + 101) & MASK and script.wait(1) == []
    script.guest(ACK | PSH, 101, 1, b"x" * 1460)
    (now,) = script.guest(ACK | PSH, 1561, 1, b"x" * 1460)
    assert now.acknowledgement == (ISS + 3021) & MASK


def test_the_first_segments_are_acknowledged_one_by_one() -> None:
    script = Script().open()
    script.flow.receiver.quick_acks = 2
    assert len(script.guest(ACK | PSH, 1, 1, b"a")) == 1
    assert len(script.guest(ACK | PSH, 2, 1, b"b")) == 1
    assert script.guest(ACK | PSH, 3, 1, b"c") == []


def test_data_carries_the_ack() -> None:
    script = Script().open()
    script.guest(ACK | PSH, 1, 1, b"question")
    script.sock.arriving += b"answer"
    (answer,) = script.ready()
    assert answer.acknowledgement == (ISS + 9) & MASK
    assert script.wait(0.1) == [] or all(segment.payload for segment in script.wait(0.1))


def test_a_window_that_opens_again_is_told() -> None:  # section 3.8.6.2.2
    script = Script().open(scale=2)
    script.sock.room = 0
    sent = 0
    while sent < RCV_CAPACITY:
        size = min(1460, RCV_CAPACITY - sent)
        script.guest(ACK | PSH, 1 + sent, 1, bytes(size), window=30_000)
        sent += size
    assert script.flow.receiver.delivery.size == RCV_CAPACITY
    script.wait(1)
    script.sock.room = 1000
    assert script.ready() == []  # a thousand octets are not worth a word
    script.sock.room = 1 << 20
    (update,) = script.ready()
    assert update.flags == ACK and update.window << 2 >= RCV_CAPACITY - 4


def test_sack_blocks_name_the_latest_first() -> None:  # RFC 2018 section 4
    script = Script().open(sack=True)
    script.guest(ACK | PSH, 1001, 1, b"a" * 10)
    script.guest(ACK | PSH, 2001, 1, b"b" * 10)
    (answer,) = script.guest(ACK | PSH, 3001, 1, b"c" * 10)
    blocks = parse_sack_blocks(answer.options)
    assert blocks[0] == ((ISS + 3001) & MASK, (ISS + 3011) & MASK) and len(blocks) == 3
    script.flow.sender.sack = False
    (plain,) = script.guest(ACK | PSH, 4001, 1, b"d" * 10)
    assert plain.options == b""


def test_sack_blocks_that_lie_are_ignored() -> None:
    script = Script().open(sack=True)
    script.sock.arriving += bytes(5 * 1460)
    script.ready()
    una, nxt = script.irs + 1, script.flow.sender.snd_nxt
    lies = [(nxt, nxt + 1000), (una - 500, una + 100), (una + 200, una + 100), (una + 5, una + 5), (una, una + 1460)]
    for n, (left, right) in enumerate(lies):  # with another window each time, so that they are no duplicates
        option = sack_option([(left & MASK, right & MASK)])
        assert script.guest(ACK, 1, 1, options=option, window=20_000 + n) == []
    assert script.flow.sender.recovery.sacked == []


def test_duplicates_with_data_or_another_window_are_none() -> None:  # RFC 5681 section 2
    script = Script().open()
    script.sock.arriving += bytes(5 * 1460)
    script.ready()
    for n in range(6):
        script.guest(ACK | PSH, 1 + n, 1, b"x")
        script.guest(ACK, 2 + n, 1, window=20_000 + n)
    assert not script.count["tcp.fast_retransmit"]


def test_the_fin_is_sent_again_with_the_last_octets() -> None:
    script = Script().open()
    script.sock.arriving += b"last words"
    script.sock.remote_closed = True
    sent = script.ready() + script.ready()
    assert sent[0].payload == b"last words" and sent[1].flags & FIN
    again = [segment for segment in script.wait(2) if segment.payload or segment.flags & FIN]
    assert again and again[0].payload == b"last words" and again[0].flags & FIN
    assert script.guest(ACK, 1, 11) is not None and script.table.flows
    (fin, *_) = [segment for segment in script.wait(3) if segment.flags & FIN]
    assert fin.payload == b"" and fin.sequence == (script.irs + 11) & MASK


def test_time_wait_lasts_a_minute_and_holds_no_socket() -> None:
    script = Script().open()
    script.sock.remote_closed = True
    script.ready()
    script.guest(ACK, 1, 2)
    assert script.guest(FIN | ACK, 1, 2)[-1].acknowledgement == (ISS + 2) & MASK
    assert script.flow.state is State.TIME_WAIT and script.sock.closed and not script.sock.was_reset
    script.wait(TIME_WAIT_FOR - 1)
    assert script.table.flows
    script.wait(2)
    assert not script.table.flows


def test_the_end_that_closes_last_has_no_time_wait() -> None:
    script = Script().open()
    script.guest(FIN | ACK, 1, 1)
    assert script.sock.shut
    script.sock.remote_closed = True
    (fin,) = script.ready()
    assert fin.flags & FIN
    script.guest(ACK, 2, 2)
    assert not script.table.flows and script.sock.closed and not script.sock.was_reset


def test_a_guest_that_is_gone_after_its_fin_is_drained_and_then_closed() -> None:  # section 3.6.1
    script = Script().open()
    script.sock.room = 10
    script.guest(ACK | PSH | FIN, 1, 1, b"x" * 100)
    assert not script.sock.shut and len(script.sock.delivered) == 10
    script.sock.room = 1 << 20
    script.ready()
    assert script.sock.shut and len(script.sock.delivered) == 100
    script.sock.arriving += b"answer"
    script.sock.remote_closed = True
    script.ready()
    end = script.wait(3000)[-1]
    assert end.flags & RST and not script.table.flows and script.sock.closed


@pytest.mark.parametrize("failure", (errno.EPIPE, errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH))
@pytest.mark.parametrize("where", ("read", "write", "peek", "shutdown"))
def test_an_error_of_the_host_ends_the_flow_once(where: str, failure: int) -> None:  # section 3.5.2
    script = Script().open()
    script.ready()
    if where == "peek":
        script.guest(ACK, window=10)
        script.sock.arriving += bytes(100)
    script.sock.failure = failure
    if where in ("read", "peek"):
        out = script.ready() or script.wait(60)
    else:
        out = script.guest(ACK | (PSH if where == "write" else FIN), 1, 1, b"data" if where == "write" else b"")
    assert out[-1].flags == RST | ACK and out[-1].sequence == (script.irs + 1) & MASK
    assert not script.table.flows and script.sock.closed and script.count["tcp.host_failed"] == 1


def test_a_window_of_a_syn_is_never_scaled() -> None:  # RFC 7323 section 2.2
    script = Script()
    script.guest(SYN, 0, 0, options=syn_options(1460, 7, False), window=1000)
    (answer,) = script.ready()
    assert answer.window == 0xFFFF and script.flow.sender.snd_wnd == 1000
    script.irs = answer.sequence
    script.guest(ACK, 1, 1, window=1000)
    assert script.flow.sender.snd_wnd == 1000 << 7


def test_a_lone_segment_is_probed_for_after_a_delayed_ack_could_have_come() -> None:  # after RFC 8985 section 7
    script = Script().open()
    script.sock.arriving += b"x"
    script.ready()
    script.now += 0.01
    script.guest(ACK, 1, 2)
    script.sock.arriving += b"y"
    (sent,) = script.ready()
    assert script.wait(0.2) == []
    (again,) = script.wait(0.06)
    assert again.payload == b"y" and again.sequence == sent.sequence


def test_a_window_that_comes_with_data_counts() -> None:
    script = Script().open()
    script.guest(ACK | PSH, 1, 1, b"x", window=7)
    assert script.flow.sender.snd_wnd == 7
    script.guest(ACK | PSH, 2, 1, b"x", window=9000)
    assert script.flow.sender.snd_wnd == 9000 and script.flow.sender.snd_max_wnd == 30_000


def test_the_handshake_is_the_first_round_trip() -> None:
    script = Script()
    script.guest(SYN, 0, 0, options=syn_options(1460, None, False))
    (answer,) = script.ready()
    script.irs = answer.sequence
    script.now += 0.25
    script.guest(ACK)
    assert script.flow.sender.recovery.srtt == pytest.approx(0.25) and script.flow.sender.timed_end == -1


def test_a_handshake_that_was_repeated_is_none() -> None:  # Karn
    script = Script()
    script.guest(SYN, 0, 0)
    (answer,) = script.ready()
    script.irs = answer.sequence
    assert script.wait(1.5)
    script.guest(ACK)
    assert script.flow.sender.recovery.srtt == 0.0 and script.flow.sender.recovery.rto == 1.0


def test_a_segment_that_just_fits_is_not_past_the_window() -> None:
    script = Script().open()
    script.sock.room = 0
    edge = script.flow.receiver.rcv_edge - script.flow.receiver.rcv_nxt
    ahead = 60_000
    script.guest(ACK | PSH, 1 + ahead, 1, bytes(edge - ahead))
    assert not script.count["tcp.past_window"] and script.flow.receiver.ahead.size == edge - ahead
    other = Script().open()
    other.sock.room = 0
    edge = RCV_CAPACITY  # what is taken, though less could be announced
    other.guest(ACK | PSH, 1 + edge - 5, 1, bytes(10))
    assert other.count["tcp.past_window"] == 1 and other.flow.receiver.ahead.size == 5


def test_each_end_is_counted() -> None:
    script = Script().open()
    script.guest(RST)
    assert script.count["tcp.reset_by_guest"] == 1
    script = Called()
    script.answer(RST | ACK)
    assert script.count["tcp.refused_by_guest"] == 1


def test_what_a_guest_repeats_is_acknowledged_at_once() -> None:  # its own copy of our ACK was lost
    script = Script().open()
    script.guest(ACK | PSH, 1, 1, b"abcdef")
    script.wait(1)
    (again,) = script.guest(ACK | PSH, 1, 1, b"abcdefghi")
    assert again.acknowledgement == (ISS + 10) & MASK and bytes(script.sock.delivered) == b"abcdefghi"


def test_a_call_that_the_guest_answers_is_acknowledged_at_once() -> None:
    script = Called()
    (ours,) = script.answer(SYN | ACK)
    assert ours.flags == ACK and ours.payload == b""


def test_a_guest_that_closed_its_window_over_data_in_flight_is_never_given_up() -> None:  # MUST-37
    script = Script().open()
    script.sock.arriving += bytes(4000)
    script.ready()
    for _ in range(24 * 60):
        if script.wait(60):
            script.guest(ACK, 1, 1, window=0)
    assert script.table.flows and not script.count["tcp.timed_out"]
    assert sum(len(segment.payload) for segment in script.guest(ACK, 1, 1, window=30_000) + script.wait(61)) >= 1460


def test_after_a_timeout_each_ack_brings_the_next_lost_segments() -> None:
    script = Script().open()
    script.sock.arriving += bytes(5 * 1460)
    script.ready()
    lost = script.wait(1.5)
    assert [segment.sequence for segment in lost] == [(script.irs + 1) & MASK]
    again = script.guest(ACK, 1, 1461)
    assert [segment.sequence for segment in again] == [(script.irs + 1461) & MASK, (script.irs + 2921) & MASK]


def test_a_closed_window_is_probed_after_a_timeout_and_not_before() -> None:  # RFC 9293 section 3.8.6.1
    script = Script().open()
    script.guest(ACK, window=0)
    script.sock.arriving += b"data"
    script.ready()
    rto = script.flow.sender.recovery.rto
    assert script.wait(rto * 0.95) == [] and len(script.wait(rto * 0.1)) == 1
    script.wait(500)
    assert script.flow.sender.recovery.rto > 30
    script.guest(ACK, 1, 1, window=30_000)
    assert script.flow.sender.recovery.rto == rto


def test_a_lone_full_segment_is_not_probed_for_before_a_delayed_ack() -> None:
    script = Script().open()
    script.sock.arriving += b"x"
    script.ready()
    script.now += 0.01
    script.guest(ACK, 1, 2)
    script.sock.arriving += bytes(1460)
    assert len(script.ready()) == 1
    assert script.wait(0.2) == [] and len(script.wait(0.06)) == 1


def test_another_syn_in_syn_received_is_challenged_and_the_same_is_answered() -> None:  # RFC 5961 section 4.2
    script = Script()
    script.guest(SYN, 0, 0)
    (answer,) = script.ready()
    script.irs = answer.sequence
    (challenge,) = script.guest(SYN, 500, 0)
    assert challenge.flags == ACK
    (again,) = script.guest(SYN, 0, 0)
    assert again.flags == SYN | ACK and again.sequence == answer.sequence


def test_the_old_syn_in_established_is_challenged() -> None:
    script = Script().open()
    (challenge,) = script.guest(SYN, 0, 0)
    assert challenge.flags == ACK and challenge.sequence == (script.irs + 1) & MASK


def test_another_window_does_not_stop_the_retransmission() -> None:
    script = Script().open()
    script.sock.arriving += b"data"
    script.ready()
    script.guest(ACK, 1, 1, window=20_000)
    assert [segment.payload for segment in script.wait(1.1)] == [b"data"]


def test_full_segments_go_out_and_only_the_last_is_shorter() -> None:
    script = Script().open()
    script.sock.arriving += bytes(100_000)
    sizes = [len(segment.payload) for segment in script.guest(ACK, 1, 1, window=10_000) + script.ready()]
    assert sizes == [1460] * 6
    for _ in range(200):
        sent = script.guest(ACK, 1, script.flow.sender.snd_nxt - script.irs, window=10_000)
        sizes += [len(segment.payload) for segment in sent if segment.payload]
    assert sum(sizes) == 100_000 and set(sizes[:-1]) == {1460}


def test_the_host_is_read_again_as_soon_as_it_has_more() -> None:
    script = Script().open()
    for n in range(1, 20):
        script.sock.arriving += bytes(1460)
        (data,) = script.ready()
        assert len(data.payload) == 1460
        script.guest(ACK, 1, 1 + 1460 * n)
        assert script.sock.reader is not None


def test_time_wait_begins_anew_with_every_fin() -> None:  # RFC 9293 section 3.10.7.4
    script = Script().open()
    script.sock.remote_closed = True
    script.ready()
    script.guest(ACK, 1, 2)
    script.guest(FIN | ACK, 1, 2)
    for _ in range(3):
        script.wait(TIME_WAIT_FOR - 1)
        (ack,) = script.guest(FIN | ACK, 1, 2)
        assert ack.acknowledgement == (ISS + 2) & MASK
    script.wait(TIME_WAIT_FOR + 1)
    assert not script.table.flows


def test_what_ends_of_idleness_is_counted() -> None:
    script = Script().open()
    script.wait(8000)
    assert script.count["tcp.idle"] == 1
    deaf = Script().open()
    deaf.guest(ACK, window=0)
    deaf.sock.arriving += b"data"
    deaf.ready()
    deaf.wait(8000)
    assert deaf.count["tcp.idle"] == 1 and not deaf.table.flows
