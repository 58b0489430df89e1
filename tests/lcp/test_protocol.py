"""LCP against packets made by hand: the edges of RFC 1661, and what goes out seen by scapy."""

import math
from random import Random
from typing import Any

import pytest
from scapy.layers.ppp import PPP

from lcp.config import LinkConfig, LinkParameters
from lcp.events import Identified, LinkDown, LoopDetected, NoAnswer
from lcp.fsm import State
from lcp.link import PppLink
from lcp.packet import Code, ControlPacket, build
from tests.support.ppp_ends import End, Wire, client, parsed, server

REQ, ACK, NAK, REJ, TERM, TERM_ACK, CODE_REJ, PROTO_REJ, ECHO, ECHO_REPLY, DISCARD, IDENT = range(1, 13)
MAGIC = b"\x05\x06\x11\x22\x33\x44"
SHUT = (State.STOPPED, State.STOPPING)


def dialing(**changes: Any) -> End:
    """A server that has sent its first request and heard nothing."""
    end = server(echo_interval=0.0, **changes)
    end.link.up(0.0)
    return end


def last(end: End, protocol: int = 0xC021) -> ControlPacket:
    return parsed(end.taken(protocol)[-1])


def negotiated(data: bytes = MAGIC, **changes: Any) -> End:
    """A server whose LCP is open, the peer having asked for `data`; nothing in `sent`."""
    end = dialing(**changes)
    request = last(end)
    end.give(ACK, request.id, request.data)
    end.give(REQ, 1, data)
    assert end.link.lcp.opened
    end.taken()
    end.events.clear()
    return end


def codes(end: End, protocol: int = 0xC021) -> list[int]:
    return [information[0] for information in end.taken(protocol)]


def test_first_request_goes_out_at_once_and_asks_for_the_usual() -> None:
    end = dialing()
    (request,) = end.taken()
    packet = PPP(b"\xff\x03\xc0\x21" + request)
    assert [type(option).__name__ for option in packet.payload.options] == [
        "PPP_LCP_ACCM_Option",
        "PPP_LCP_Magic_Number_Option",
        "PPP_LCP_Option",
        "PPP_LCP_Option",
    ]
    assert packet.payload.options[0].accm == 0 and packet.payload.len == len(request)


def test_everything_asked_for_is_read_the_same_by_scapy() -> None:
    from lcp.auth.secrets import Anyone

    end = dialing(mru=296, accm=0xA0000, auth=Anyone())
    (request,) = end.taken()
    options = PPP(b"\xff\x03\xc0\x21" + request).payload.options
    assert options[0].max_recv_unit == 296 and options[1].accm == 0xA0000
    assert options[2].auth_protocol == 0xC023


def test_answers_at_once_when_the_peer_opens_first() -> None:
    end = dialing()
    end.taken()
    end.give(REQ, 9, MAGIC, now=0.1)
    assert codes(end) == [ACK] and end.link.deadline == 0.6


def test_request_from_long_ago_is_repeated_soon_after_the_peer_speaks() -> None:
    end = dialing()
    first = last(end)
    end.give(REQ, 9, MAGIC, now=2.0)
    end.link.tick(2.2)
    ack, again = map(parsed, end.taken())
    assert ack == (ACK, 9, MAGIC) and again == first


def test_silence_then_stopped_still_answering() -> None:
    end = dialing()
    while end.link.deadline < math.inf:
        end.link.tick(end.link.deadline)
    assert len(end.taken()) == 10 and end.link.lcp.state == State.STOPPED
    assert end.events == [NoAnswer(10)]
    end.give(REQ, 1, MAGIC, now=100.0)
    assert codes(end) == [REQ, ACK]


def test_identifier_stays_in_a_retransmission_and_changes_with_the_options_and_after_a_reply() -> None:
    end = dialing()
    first = last(end)
    end.link.tick(3.0)
    again = last(end)
    assert again == first
    end.give(REJ, first.id, MAGIC[:2] + first.data[first.data.index(b"\x05\x06") + 2 :][:4])
    rejected = last(end)
    assert rejected.id != first.id and b"\x05\x06" not in rejected.data
    end.give(ACK, rejected.id, rejected.data)
    end.link.tick(6.0)  # no request of the peer: Ack-Rcvd times out
    assert last(end).id not in (first.id, rejected.id)


@pytest.mark.parametrize("code", [ACK, NAK, REJ])
def test_wrong_id_answer_is_silently_discarded(code: int) -> None:
    end = dialing()
    request = last(end)
    end.give(code, request.id + 1, request.data)
    assert end.link.lcp.state == State.REQ_SENT and not end.taken()
    assert end.link.count["lcp.wrong_id"] == 1


@pytest.mark.parametrize(
    ("code", "data"),
    [(ACK, b""), (ACK, MAGIC), (REJ, b"\x0d\x03\x06"), (REJ, b""), (NAK, b"\x63\x02"), (NAK, b"\x05\x05abc\x00\x00")],
)
def test_answers_that_do_not_fit_the_request_are_silently_discarded(code: int, data: bytes) -> None:
    end = dialing()
    request = last(end)
    end.give(code, request.id, data)
    assert end.link.lcp.state == State.REQ_SENT and not end.taken()
    assert end.link.count["lcp.bad_answer"] == 1


def test_a_duplicated_ack_drops_no_link() -> None:
    end = dialing()
    request = last(end)
    end.give(ACK, request.id, request.data)
    end.give(REQ, 1, MAGIC)
    end.give(ACK, request.id, request.data)
    assert end.link.lcp.opened


def test_guest_reboot_configure_request_in_opened() -> None:
    end = negotiated()
    end.give(REQ, 1, MAGIC, protocol=0xC021, now=5.0)
    sent = [parsed(information).code for information in end.taken()]
    assert sent == [REQ, ACK] and end.link.lcp.state == State.ACK_SENT
    assert end.events == [LinkDown("the guest has begun to negotiate anew")]
    assert end.ipcp.state == State.STARTING


def test_a_new_negotiation_asks_for_everything_again() -> None:
    end = dialing()
    request = last(end)
    end.give(REJ, request.id, request.data)
    bare = last(end)
    assert bare.data == b""
    end.give(ACK, bare.id, b"")
    end.give(REQ, 1, MAGIC)
    end.taken()
    end.give(REQ, 2, MAGIC)
    assert len(parsed(end.taken()[0]).data) == len(request.data)


@pytest.mark.parametrize("state", [s for s in State if s > State.STARTING], ids=lambda s: s.name)
def test_terminate_request_in_every_state(state: State) -> None:
    end = dialing()
    end.taken()
    end.link.lcp.automaton.state = state
    end.give(TERM, 77, b"bye")
    assert parsed(end.taken()[-1])[:2] == (TERM_ACK, 77)
    if state == State.OPENED:
        assert end.link.lcp.state == State.STOPPING
        assert end.events == [LinkDown("the guest hung up (bye)")]


def test_terminate_ack_in_opened_begins_anew() -> None:
    end = negotiated()
    end.give(TERM_ACK, 1)
    assert codes(end) == [REQ] and end.link.lcp.state == State.REQ_SENT


def test_a_guest_that_hangs_up_and_redials_at_once_is_not_kept_waiting() -> None:
    end = negotiated()
    end.give(TERM, 2)
    assert codes(end) == [TERM_ACK]
    end.give(REQ, 1, MAGIC, now=0.2)
    assert codes(end) == [REQ, ACK] and end.link.lcp.state == State.ACK_SENT


def test_close_sends_two_terminate_requests_and_then_is_closed() -> None:
    end = negotiated()
    end.link.close(10.0, "shutting down")
    assert [parsed(p) for p in end.taken()][0][::2] == (TERM, b"shutting down")
    end.link.tick(13.0)
    assert codes(end) == [TERM]
    end.link.tick(16.0)
    assert end.link.lcp.state == State.CLOSED and end.link.deadline == math.inf
    end.give(REQ, 1, MAGIC, now=20.0)
    assert codes(end) == [TERM_ACK]
    end.link.down(21.0)
    end.link.up(22.0)
    assert codes(end) == [REQ]


def test_echo_before_opened_is_ignored_and_in_opened_answered() -> None:
    end = dialing()
    end.taken()
    end.give(ECHO, 3, bytes(4))
    assert not end.taken() and end.link.count["lcp.not_opened"] == 1
    end = negotiated()
    end.give(ECHO, 3, b"\x11\x22\x33\x44data")
    reply = last(end)
    assert reply[:2] == (ECHO_REPLY, 3) and reply.data == end.link.lcp.magic.ours.to_bytes(4, "big") + b"data"


@pytest.mark.parametrize("code", [DISCARD, ECHO_REPLY])
def test_discard_and_unasked_echo_reply_are_never_answered(code: int) -> None:
    end = negotiated()
    end.give(code, 3, b"\x11\x22\x33\x44")
    assert not end.taken() and end.link.lcp.opened


@pytest.mark.parametrize("code", [ECHO, ECHO_REPLY, DISCARD, IDENT])
def test_echo_and_the_like_without_room_for_a_magic_number(code: int) -> None:
    end = negotiated()
    end.give(code, 3, b"abc")
    assert not end.taken() and end.link.count["lcp.bad_length"] == 1


@pytest.mark.parametrize("code", [0, 13, 14, 255])
def test_unknown_code_gets_code_reject_with_a_new_id_within_the_peers_mru(code: int) -> None:
    end = negotiated(b"\x01\x04\x00\x64")
    ids = set()
    for _ in range(3):
        end.give(code, 200, bytes(1400))
        (answer,) = end.taken()
        packet = parsed(answer)
        assert packet.code == CODE_REJ and len(answer) == 100
        assert packet.data[:2] == bytes((code, 200))
        ids.add(packet.id)
    assert len(ids) == 3 and 200 not in ids


@pytest.mark.parametrize("code", range(1, 8))
def test_code_reject_of_codes_1_to_7_shuts_down(code: int) -> None:
    end = negotiated()
    end.give(CODE_REJ, 1, bytes((code, 1, 0, 4)))
    assert end.link.lcp.state == State.STOPPING and codes(end) == [TERM]


@pytest.mark.parametrize("code", range(8, 14))
def test_code_reject_of_others_is_obeyed(code: int) -> None:
    end = negotiated()
    end.give(CODE_REJ, 1, bytes((code, 1, 0, 4)))
    assert end.link.lcp.opened and not end.taken()
    assert end.link.lcp.echo_refused == (code == ECHO)


def test_code_reject_of_nothing() -> None:
    end = negotiated()
    end.give(CODE_REJ, 1, b"")
    assert end.link.lcp.opened and end.link.count["lcp.bad_length"] == 1


@pytest.mark.parametrize("mru", [0, 1, 63, 67])
def test_mru_too_small_is_naked(mru: int) -> None:
    end = dialing()
    end.taken()
    end.give(REQ, 1, b"\x01\x04" + mru.to_bytes(2, "big"), now=0.1)
    assert last(end) == (NAK, 1, b"\x01\x04\x00\x44")


@pytest.mark.parametrize("mru", [68, 296, 1500, 65535])
def test_every_control_packet_fits_1500_and_the_peers_mru(mru: int) -> None:
    end = negotiated(b"\x01\x04" + mru.to_bytes(2, "big"))
    for code, protocol in [(99, 0xC021), (ECHO, 0xC021), (1, 0x80FD), (99, 0x8021), (REQ, 0x8021), (REQ, 0xC021)]:
        end.give(code, 9, b"\x63\x04ab" * 373, protocol=protocol)
    assert len(end.sent) >= 6 or mru < 1500
    # the last request ended the agreement, and with it the peer's MRU
    assert all(len(information) <= min(1500, mru) for _, information in end.sent[:-2])
    assert all(len(information) <= 1500 for _, information in end.sent)


def test_options_we_do_not_have_are_rejected_in_order_and_unchanged() -> None:
    end = dialing()
    end.taken()
    strange = b"\x04\x08\xc0\x25\x00\x00\x00\x01" + b"\x0d\x03\x06" + b"\x11\x04\x05\xdc" + b"\x03\x04\xc0\x23"
    end.give(REQ, 5, b"\x01\x04\x00\x01" + strange + MAGIC, now=0.1)
    assert last(end) == (REJ, 5, strange)


def test_peers_options_take_effect() -> None:
    heard: list[LinkParameters] = []
    sent = []
    link = PppLink(
        LinkConfig(),
        lambda protocol, information: sent.append(parsed(information)),
        random=Random(1),
        on_event=lambda event: None,
        parameters=heard.append,
    )
    link.up(0.0)
    link.receive(b"\xc0\x21" + build(ACK, sent[0].id, sent[0].data), 0.0)
    link.receive(b"\xc0\x21" + build(REQ, 1, b"\x01\x04\x01\x28\x02\x06\x00\x0a\x00\x00\x07\x02"), 0.0)
    assert (heard[0].peer_mru, heard[0].tx_accm, heard[0].pfc, heard[0].acfc, heard[0].rx_accm) == (
        296,
        0xA0000,
        True,
        False,
        0,
    )
    link.down(1.0)
    assert heard[1].tx_accm == 0xFFFFFFFF and heard[1].peer_mru == 1500 and not heard[1].pfc


def test_option_past_the_end_discards_the_packet_and_leaves_the_automaton() -> None:
    end = negotiated()
    end.give(REQ, 1, b"\x05\x09\x11")
    assert end.link.lcp.opened and not end.taken() and end.link.count["lcp.bad_options"] == 1


@pytest.mark.parametrize("information", [b"", b"\x01", b"\x01\x01\x00\x03", b"\x01\x01\x00\x05", b"\x01\x01\xff\xff"])
def test_lengths_that_lie(information: bytes) -> None:
    end = dialing()
    end.taken()
    end.link.receive(b"\xc0\x21" + information, 0.0)
    assert not end.taken() and end.link.count["lcp.bad_length"] == 1


def test_padding_after_the_length_is_ignored() -> None:
    end = dialing()
    end.taken()
    end.link.receive(b"\xc0\x21" + build(REQ, 4, MAGIC) + b"padding", 0.1)
    assert last(end) == (ACK, 4, MAGIC)


def test_magic_number_zero_is_naked() -> None:
    end = dialing()
    end.taken()
    end.give(REQ, 1, b"\x05\x06" + bytes(4), now=0.1)
    answer = last(end)
    assert answer.code == NAK and answer.data[2:] != bytes(4)


def test_own_magic_returned_ten_times_is_a_looped_line() -> None:
    end = dialing()
    for _ in range(60):
        line = end.take()
        if not line:
            break
        end.feed(b"~" + line, 0.0)
    assert LoopDetected() in end.events and LinkDown("the line is looped back") in end.events
    assert end.link.lcp.state == State.STOPPED and not end.line
    assert sum(1 for _, information in end.sent if information[0] == NAK) == 9


def test_one_own_magic_is_naked_with_a_new_one() -> None:
    end = dialing()
    request = last(end)
    end.give(REQ, 1, request.data, now=0.1)
    answer = last(end)
    assert answer.code == NAK and answer.data[:2] == b"\x05\x06" and answer.data not in request.data


@pytest.mark.parametrize("code", [ECHO, DISCARD])
def test_echo_with_our_own_magic_is_a_looped_line(code: int) -> None:
    end = negotiated()
    end.give(code, 1, end.link.lcp.magic.ours.to_bytes(4, "big"))
    assert end.events[0] == LoopDetected() and end.link.lcp.state in SHUT


def test_identification_is_shown_printable_in_any_state() -> None:
    for end in (dialing(), negotiated()):
        end.give(IDENT, 1, b"\x11\x22\x33\x44MSRASV5.10\x1b[2J\xff")
        assert end.events == [Identified("MSRASV5.10\\x1b[2J\\xff")]


def test_garbled_codes_before_the_line_is_up() -> None:
    end = server()
    end.give(REQ, 1, MAGIC)
    assert not end.sent and end.link.count["lcp.not_up"] == 1


def test_nak_with_another_mru_and_accm() -> None:
    end = dialing(mru=1400)
    request = last(end)
    end.give(NAK, request.id, b"\x01\x04\x02\x40\x02\x06\x00\x0a\x00\x00\x07\x02")
    data = last(end).data
    assert data.startswith(b"\x01\x04\x02\x40\x02\x06\x00\x0a\x00\x00") and b"\x07\x02" not in data


def test_keepalive_ends_a_dead_link() -> None:
    end = negotiated()
    end.link.down(0.0)
    end = server(echo_interval=10.0, echo_failures=3)
    wire = Wire(end, client(echo_interval=0.0))
    wire.up()
    wire.settle()
    end.taken()
    times = []
    while end.link.lcp.opened:
        times.append(end.link.deadline)
        end.link.tick(end.link.deadline)
    assert times == [10.0, 20.0, 30.0, 40.0]
    assert codes(end)[:3] == [ECHO, ECHO, ECHO]
    assert end.told(LinkDown) == [LinkDown("no answer to 3 echo requests")]


def test_keepalive_answered_goes_on_and_a_busy_line_carries_none() -> None:
    a, b = server(echo_interval=10.0), client(echo_interval=0.0)
    wire = Wire(a, b)
    wire.up()
    wire.run(3600.0)
    assert a.link.lcp.opened and 355 <= sum(1 for p, i in a.sent if p == 0xC021 and i[0] == ECHO) <= 360
    a.sent.clear()
    for second in range(3600, 3700):
        a.link.receive(b"\x21E", float(second))
        a.link.tick(float(second))
    assert not a.sent


def test_keepalive_stops_when_the_peer_does_not_know_echo() -> None:
    end = server(echo_interval=10.0)
    wire = Wire(end, client(echo_interval=0.0))
    wire.up()
    wire.settle()
    end.give(CODE_REJ, 1, bytes((ECHO, 1, 0, 8)), now=1.0)
    end.taken()
    end.link.tick(11.0)
    assert not end.sent and end.link.deadline == math.inf


def test_code_names() -> None:
    assert Code(ECHO).name == "ECHO_REQUEST"
