"""IPCP of a server against guests of every kind, and of a client against a server."""

import itertools
import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.ppp import PPP

from ipcp.protocol import STAND_IN, Ipcp, LeaseAnswer
from lcp.config import LinkConfig
from lcp.fsm import State
from lcp.options import spell, walk
from lcp.packet import Code, ControlPacket
from tests.support.ppp_ends import DNS, GATEWAY, GUEST, End, Wire, client, lender_of, parsed, pool, server

IPCP = 0x8021
ZERO = bytes(4)
ADDRESSES, VJ, ADDRESS, DNS1, NBNS1, DNS2, NBNS2 = 1, 2, 3, 129, 130, 131, 132
VJ_VALUE = b"\x00\x2d\x0f\x01"
OTHER = bytes((10, 0, 2, 99))

Options = list[tuple[int, bytes]]


def packets_of(sent: list[bytes]) -> list[ControlPacket]:
    """Each of them is sound."""
    return [parsed(each) for each in sent]


def ipcp_of(end: End) -> Ipcp:
    return end.ipcp


def opened_lcp(end: End | None = None) -> tuple[End, int, bytes]:
    """A server whose LCP is open with a guest played by the test; (server, id, data) of its first request."""
    end = end or server(echo_interval=0.0)
    end.link.up(0.0)
    request = packets_of(end.taken())[0]
    end.give(Code.CONFIGURE_ACK, request.id, request.data)
    end.give(Code.CONFIGURE_REQUEST, 1)
    (first,) = packets_of(end.taken(IPCP))
    assert first.code == Code.CONFIGURE_REQUEST
    return end, first.id, first.data


def answer_to(end: End, options: Options, identifier: int = 1) -> tuple[Code, Options]:
    """What the server answers to a Configure-Request; its own further requests are left out."""
    end.give(Code.CONFIGURE_REQUEST, identifier, spell(options), protocol=IPCP)
    answers = packets_of(end.taken(IPCP))
    (answer,) = [packet for packet in answers if packet.code != Code.CONFIGURE_REQUEST]
    assert answer.id == identifier
    named = walk(answer.data)
    assert named is not None
    return Code(answer.code), named


def test_own_address_is_in_the_first_request_and_scapy_reads_it() -> None:
    end = server()
    wire = Wire(end, client())
    wire.up()
    wire.settle()
    first = next(information for protocol, information in end.sent if protocol == IPCP)
    packet = PPP(b"\xff\x03\x80\x21" + first)
    assert packet.payload.code == 1 and len(packet.payload.options) == 1
    assert packet.payload.options[0].data == "10.0.2.2"


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ([(ADDRESS, ZERO)], (Code.CONFIGURE_NAK, [(ADDRESS, GUEST)])),
        ([], (Code.CONFIGURE_NAK, [(ADDRESS, GUEST)])),
        ([(ADDRESS, GUEST)], (Code.CONFIGURE_ACK, [(ADDRESS, GUEST)])),
        ([(ADDRESS, OTHER)], (Code.CONFIGURE_ACK, [(ADDRESS, OTHER)])),
        ([(ADDRESS, GATEWAY)], (Code.CONFIGURE_NAK, [(ADDRESS, GUEST)])),
        ([(ADDRESS, b"\xc0\xa8\x00\x07")], (Code.CONFIGURE_NAK, [(ADDRESS, GUEST)])),
        ([(ADDRESS, GUEST), (DNS1, ZERO)], (Code.CONFIGURE_NAK, [(DNS1, DNS)])),
        ([(ADDRESS, GUEST), (DNS2, b"\x08\x08\x08\x08")], (Code.CONFIGURE_NAK, [(DNS2, DNS)])),
        ([(DNS1, ZERO)], (Code.CONFIGURE_NAK, [(DNS1, DNS), (ADDRESS, GUEST)])),
        ([(NBNS1, ZERO), (ADDRESS, ZERO), (NBNS2, ZERO)], (Code.CONFIGURE_REJECT, [(NBNS1, ZERO), (NBNS2, ZERO)])),
        ([(ADDRESS, ZERO), (VJ, VJ_VALUE)], (Code.CONFIGURE_REJECT, [(VJ, VJ_VALUE)])),
        ([(VJ, b"\x00\x2d")], (Code.CONFIGURE_REJECT, [(VJ, b"\x00\x2d")])),
        ([(ADDRESSES, ZERO + ZERO)], (Code.CONFIGURE_REJECT, [(ADDRESSES, ZERO + ZERO)])),
        ([(ADDRESS, b"\x0a\x00")], (Code.CONFIGURE_NAK, [(ADDRESS, GUEST)])),
    ],
)
def test_answer(asked: Options, answer: tuple[Code, Options]) -> None:
    end, _, _ = opened_lcp()
    assert answer_to(end, asked) == answer


def converge(end: End, options: list[tuple[int, bytes]]) -> int:
    """Rounds until a guest that obeys every answer is acked."""
    for rounds in range(1, 20):
        code, named = answer_to(end, options, rounds)
        if code == Code.CONFIGURE_ACK:
            return rounds
        values = dict(named)
        if code == Code.CONFIGURE_REJECT:
            options = [option for option in options if option[0] not in values]
        else:
            options = [(kind, values.pop(kind, value)) for kind, value in options] + list(values.items())
    raise AssertionError("never acked")


WINDOWS = [(ADDRESS, ZERO), (VJ, VJ_VALUE), (DNS1, ZERO), (NBNS1, ZERO), (DNS2, ZERO), (NBNS2, ZERO)]


def test_three_rounds_for_every_option_order() -> None:
    for order in itertools.permutations(WINDOWS):
        end, _, _ = opened_lcp()
        assert converge(end, list(order)) == 3
        assert ipcp_of(end).remote == GUEST


@pytest.mark.parametrize("count", range(len(WINDOWS) + 1))
def test_three_rounds_for_every_choice_of_options(count: int) -> None:
    for chosen in itertools.combinations(WINDOWS, count):
        end, _, _ = opened_lcp()
        assert converge(end, list(chosen)) <= 3


def test_pppd_given_no_addresses_is_up_in_two_round_trips() -> None:
    """What pppd sends by itself: 0.0.0.0 and VJ; it takes our address as it comes."""
    end, identifier, data = opened_lcp()
    end.give(Code.CONFIGURE_ACK, identifier, data, protocol=IPCP)
    assert converge(end, [(ADDRESS, ZERO), (VJ, VJ_VALUE)]) == 3
    ipcp = ipcp_of(end)
    assert ipcp.opened and ipcp.local == GATEWAY and ipcp.remote == GUEST


def test_a_guest_that_sends_no_address_at_all_is_let_in_after_max_failure() -> None:
    end, identifier, data = opened_lcp()
    end.give(Code.CONFIGURE_ACK, identifier, data, protocol=IPCP)
    answers = [answer_to(end, [], i)[0] for i in range(6)]
    assert answers == [Code.CONFIGURE_NAK] * 5 + [Code.CONFIGURE_ACK]
    assert ipcp_of(end).opened and ipcp_of(end).remote == GUEST


def test_a_guest_that_insists_on_a_foreign_address_sees_it_rejected_after_max_failure() -> None:
    end, _, _ = opened_lcp()
    foreign = [(ADDRESS, b"\xc0\xa8\x00\x07")]
    answers = [answer_to(end, foreign, i)[0] for i in range(6)]
    assert answers == [Code.CONFIGURE_NAK] * 5 + [Code.CONFIGURE_REJECT]


def test_a_guest_that_would_have_our_address_otherwise_is_told_again() -> None:
    end, identifier, data = opened_lcp()
    end.give(Code.CONFIGURE_NAK, identifier, spell([(ADDRESS, ZERO)]), protocol=IPCP)
    (again,) = packets_of(end.taken(IPCP))
    assert again.data == data and again.id != identifier
    end.give(Code.CONFIGURE_REJECT, again.id, data, protocol=IPCP)
    (bare,) = packets_of(end.taken(IPCP))
    assert bare.data == b""
    end.give(Code.CONFIGURE_ACK, bare.id, b"", protocol=IPCP)
    assert converge(end, [(ADDRESS, GUEST)]) == 1
    assert ipcp_of(end).opened and ipcp_of(end).local == GATEWAY


# Leases that take time


class Lender:
    """Keeps every question until the test answers it."""

    def __init__(self) -> None:
        self.wishes: list[bytes | None] = []
        self.answers: list[LeaseAnswer] = []

    def lend(self, wanted: bytes | None, answer: LeaseAnswer) -> None:
        self.wishes.append(wanted)
        self.answers.append(answer)


def waiting(asked: Iterable[tuple[int, bytes]] = ((ADDRESS, ZERO),)) -> tuple[End, Lender]:
    """A server that has been asked for an address, and asks for one itself."""
    lender = Lender()
    end, identifier, data = opened_lcp(End(LinkConfig(echo_interval=0.0), Ipcp.server(GATEWAY, lender.lend, [DNS]), 1))
    end.give(Code.CONFIGURE_ACK, identifier, data, protocol=IPCP)
    end.give(Code.CONFIGURE_REQUEST, 7, spell(asked), protocol=IPCP)
    assert not end.taken(IPCP) and len(lender.wishes) == 1
    return end, lender


def said(end: End) -> list[tuple[int, int, Options | None]]:
    return [(packet.code, packet.id, walk(packet.data)) for packet in map(parsed, end.taken(IPCP))]


def test_a_request_waits_for_the_lease() -> None:
    end, lender = waiting()
    assert lender.wishes == [None]
    assert lender.answers[0](GUEST) and end.link.deadline == -math.inf
    end.link.tick(1.0)
    assert said(end) == [(3, 7, [(ADDRESS, GUEST)])]
    end.give(Code.CONFIGURE_REQUEST, 8, spell([(ADDRESS, GUEST)]), protocol=IPCP)
    assert lender.wishes == [None, GUEST] and not end.taken(IPCP)
    assert lender.answers[1](GUEST)
    end.link.tick(2.0)
    assert said(end) == [(2, 8, [(ADDRESS, GUEST)])] and end.ipcp.opened and end.ipcp.remote == GUEST


def test_a_request_repeated_meanwhile_is_answered_once_and_the_lender_asked_once() -> None:
    end, lender = waiting()
    for identifier in (7, 8, 9):
        end.give(Code.CONFIGURE_REQUEST, identifier, spell([(ADDRESS, ZERO)]), protocol=IPCP)
    assert len(lender.wishes) == 1 and not end.taken(IPCP)
    assert lender.answers[0](GUEST)
    end.link.tick(1.0)
    assert said(end) == [(3, 9, [(ADDRESS, GUEST)])]


def test_a_request_that_has_changed_meanwhile_is_asked_about_anew() -> None:
    end, lender = waiting()
    end.give(Code.CONFIGURE_REQUEST, 8, spell([(ADDRESS, OTHER)]), protocol=IPCP)
    assert len(lender.wishes) == 1  # one question at a time
    assert lender.answers[0](GUEST)
    end.link.tick(1.0)
    assert lender.wishes == [None, OTHER] and not end.taken(IPCP)
    assert lender.answers[1](OTHER)
    end.link.tick(2.0)
    assert said(end) == [(2, 8, [(ADDRESS, OTHER)])]


def test_other_packets_may_come_while_a_request_waits() -> None:
    end, lender = waiting()
    end.give(9, 5, bytes(4))  # an Echo-Request of LCP
    end.give(99, 5, b"?", protocol=IPCP)  # and a code that IPCP does not have
    assert [packet[0] for packet in end.taken(IPCP)] == [7]
    assert lender.answers[0](GUEST)
    end.link.tick(1.0)
    assert said(end) == [(3, 7, [(ADDRESS, GUEST)])]


def test_our_own_requests_go_on_while_one_of_the_guest_waits() -> None:
    lender = Lender()
    end, _, _ = opened_lcp(End(LinkConfig(echo_interval=0.0), Ipcp.server(GATEWAY, lender.lend, [DNS]), 1))
    end.give(Code.CONFIGURE_REQUEST, 7, spell([(ADDRESS, ZERO)]), protocol=IPCP)
    end.link.tick(3.0)
    assert [parsed(p).code for p in end.taken(IPCP)] == [1]


def test_no_address_was_left_it_turns_out_later() -> None:
    end, lender = waiting()
    assert lender.answers[0](None)
    end.link.tick(1.0)
    assert said(end) == [(4, 7, [(ADDRESS, ZERO)])]


def test_a_request_without_an_address_waits_too() -> None:
    end, lender = waiting(asked=())
    assert lender.wishes == [None]
    assert lender.answers[0](GUEST)
    end.link.tick(1.0)
    assert said(end) == [(3, 7, [(ADDRESS, GUEST)])]


@pytest.mark.parametrize("end_of_it", ["down", "terminate", "close", "renegotiated"])
def test_a_lease_that_nobody_waits_for_any_more_is_given_back(end_of_it: str) -> None:
    end, lender = waiting()
    if end_of_it == "down":
        end.link.down(1.0)
    elif end_of_it == "terminate":
        end.give(Code.TERMINATE_REQUEST, 9, protocol=IPCP)
    elif end_of_it == "close":
        end.ipcp.close(1.0)
    else:
        end.give(Code.CONFIGURE_REQUEST, 2, now=1.0)  # of LCP
    end.taken(IPCP)
    assert lender.answers[0](GUEST) is False
    assert end.link.deadline > 0
    end.link.tick(1.0)
    assert not [packet for packet in said(end) if packet[0] in (2, 3, 4)]


def test_a_lease_is_given_back_when_the_next_negotiation_has_asked_already() -> None:
    end, lender = waiting()
    end.ipcp.down(1.0)
    end.ipcp.up(1.0)
    end.taken(IPCP)
    end.give(Code.CONFIGURE_REQUEST, 1, spell([(ADDRESS, ZERO)]), protocol=IPCP, now=1.0)
    assert len(lender.wishes) == 2
    assert lender.answers[0](OTHER) is False and lender.answers[1](GUEST) is True
    assert lender.answers[1](GUEST) is False  # it has answered
    end.link.tick(2.0)
    assert said(end) == [(3, 1, [(ADDRESS, GUEST)])]


def test_no_address_left() -> None:
    end = End(LinkConfig(), Ipcp.server(GATEWAY, lender_of(lambda wanted: None), [DNS]), 1)
    end, _, _ = opened_lcp(end)
    assert answer_to(end, [(ADDRESS, ZERO)]) == (Code.CONFIGURE_REJECT, [(ADDRESS, ZERO)])


def test_without_name_servers_the_dns_options_are_rejected() -> None:
    lender = pool()
    end = End(LinkConfig(), Ipcp.server(GATEWAY, lender_of(lambda wanted: lender.lease("x", wanted))), 1)
    end, _, _ = opened_lcp(end)
    assert answer_to(end, [(DNS1, ZERO), (DNS2, ZERO)]) == (
        Code.CONFIGURE_REJECT,
        [(DNS1, ZERO), (DNS2, ZERO)],
    )


def test_two_name_servers() -> None:
    lender = pool()
    second = bytes((9, 9, 9, 9))
    a = End(LinkConfig(), Ipcp.server(GATEWAY, lender_of(lambda wanted: lender.lease("x", wanted)), [DNS, second]), 1)
    b = client()
    wire = Wire(a, b)
    wire.up()
    wire.settle()
    assert ipcp_of(b).dns == ipcp_of(a).dns == [DNS, second]


@pytest.mark.parametrize("code", range(8, 12))
def test_ipcp_codes_8_to_11_get_code_reject(code: int) -> None:
    end, _, _ = opened_lcp()
    end.give(code, 9, b"\x11\x22\x33\x44", protocol=IPCP)
    assert [packet.code for packet in packets_of(end.taken(IPCP))] == [Code.CODE_REJECT]


def test_callbacks() -> None:
    calls: list[tuple[str, bytes | None]] = []
    ipcp = Ipcp.server(
        GATEWAY,
        lender_of(lambda wanted: GUEST),
        [DNS],
        on_up=lambda now: calls.append(("up", ipcp.remote)),
        on_down=lambda now: calls.append(("down", ipcp.remote)),
    )
    end, identifier, data = opened_lcp(End(LinkConfig(echo_interval=0.0), ipcp, 1))
    end.give(Code.CONFIGURE_ACK, identifier, data, protocol=IPCP)
    answer_to(end, [(ADDRESS, GUEST)])
    end.give(Code.CONFIGURE_REQUEST, 1, now=2.0)
    assert calls == [("up", GUEST), ("down", GUEST)] and ipcp.state == State.STARTING


def test_a_server_that_announces_0_0_0_0_is_told_a_name_and_got_past() -> None:
    """As the classic slirp does, which then closes IPCP unless it was told another; pppd hangs up on it."""
    a = End(LinkConfig(), Ipcp.server(ZERO, lender_of(lambda wanted: GUEST)), 1)
    b = client()
    wire = Wire(a, b)
    wire.up()
    wire.settle()
    ipcp = ipcp_of(b)
    assert ipcp.opened and ipcp.local == GUEST and ipcp.remote is None  # it stayed with 0.0.0.0


def test_a_server_without_an_address_may_take_the_name() -> None:
    """slirp asks anew with what it was told; so does another client, which has no address to give us either."""
    a, b = client(seed=1), client(seed=2)
    wire = Wire(a, b)
    wire.up()
    wire.settle()
    ours, theirs = ipcp_of(a), ipcp_of(b)
    assert ours.opened and theirs.opened and theirs.remote == STAND_IN == ours.local


@pytest.mark.parametrize("times", range(1, 6))
def test_a_client_names_a_server_no_more_than_twice(times: int) -> None:
    end, _, _ = opened_lcp(client())
    for n in range(times):
        code, named = answer_to(end, [(ADDRESS, ZERO)], n + 1)
    expected = (Code.CONFIGURE_NAK, [(ADDRESS, STAND_IN)]) if times <= 2 else (Code.CONFIGURE_ACK, [(ADDRESS, ZERO)])
    assert (code, named) == expected


options = st.lists(
    st.tuples(st.sampled_from([1, 2, 3, 129, 130, 131, 132, 77]), st.binary(max_size=8)), max_size=12
).map(spell)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3), st.one_of(options, st.binary(max_size=60)))))
def test_any_packets(packets: list[tuple[int, int, bytes]]) -> None:
    end, _, _ = opened_lcp()
    for code, identifier, data in packets:
        end.give(code, identifier, data, protocol=IPCP)
        assert len(end.taken(IPCP)) <= 3
    assert end.link.lcp.opened
