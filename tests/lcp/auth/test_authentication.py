"""Verdicts that come when they like, over PAP and CHAP; and the numbers of the packets, as the RFCs have them."""

import math

import pytest

from lcp.auth.secrets import Answer, Identity, Secrets, chap_md5
from lcp.auth.side import VERDICT_PATIENCE
from lcp.config import Credentials
from lcp.events import Authenticated, AuthFailed, LinkDown
from lcp.link import Phase
from lcp.packet import build
from lcp.protocol import CHAP_MD5, PAP
from tests.support.ppp_ends import GUEST, End, Wire, client, parsed, server

PROTOCOLS = {PAP: 0xC023, CHAP_MD5: 0xC223}
METHODS = pytest.mark.parametrize("method", [PAP, CHAP_MD5], ids=["pap", "chap"])
YES = Identity("guest", (GUEST,))
# RFC 1334 section 2.2: the codes of PAP.
PAP_REQUEST, PAP_ACK, PAP_NAK = 1, 2, 3
# RFC 1994 section 4: the codes of CHAP.
CHALLENGE, RESPONSE, SUCCESS, FAILURE = 1, 2, 3, 4


class Slow:
    """An Authenticator that keeps every question until the test answers it."""

    refusable = False

    def __init__(self, method: bytes) -> None:
        self.demand = (method,)
        self.asked: list[tuple[bytes, bytes | bool]] = []
        self.answers: list[Answer] = []

    def check_pap(self, name: bytes, password: bytes, answer: Answer) -> None:
        self.asked.append((name, password))
        self.answers.append(answer)

    def check_chap(self, name: bytes, identifier: int, challenge: bytes, response: bytes, answer: Answer) -> None:
        self.asked.append((name, response == chap_md5(identifier, b"sesame", challenge)))
        self.answers.append(answer)


def waiting(method: bytes) -> tuple[Slow, End, End, Wire]:
    """A guest that has shown who it is, and waits for what an Authenticator says."""
    slow = Slow(method)
    a, b = server(auth=slow, echo_interval=0.0), client(credentials=Credentials(b"guest", b"sesame"), echo_interval=0.0)
    wire = Wire(a, b)
    wire.up()
    wire.settle()
    assert slow.asked == [(b"guest", b"sesame" if method == PAP else True)]
    assert a.link.phase is Phase.AUTHENTICATE and not a.told(Authenticated)
    return slow, a, b, wire


def answers(end: End, method: bytes) -> list[int]:
    """The codes of verdicts that an end has sent."""
    codes = (PAP_ACK, PAP_NAK) if method == PAP else (SUCCESS, FAILURE)
    found = [parsed(information) for number, information in end.sent if number == PROTOCOLS[method]]
    return [packet.code for packet in found if packet is not None and packet.code in codes]


@METHODS
def test_a_verdict_that_comes_seconds_later(method: bytes) -> None:
    slow, a, b, wire = waiting(method)
    wire.run(2.0)
    assert not answers(a, method)
    slow.answers[0](YES)
    assert a.link.deadline == -math.inf and not a.told(Authenticated)  # it is the next tick that acts on it
    wire.run(1.0)
    assert a.link.phase is Phase.NETWORK and a.link.identity == YES and a.ipcp.opened and b.ipcp.local == GUEST
    assert len(a.told(Authenticated)) == 1 and len(answers(a, method)) == 1


@METHODS
def test_a_no_that_comes_later(method: bytes) -> None:
    slow, a, b, wire = waiting(method)
    wire.run(2.0)
    slow.answers[0]("the account is closed")
    wire.run(1.0)
    assert [event.reason for event in a.told(AuthFailed)] == ["the account is closed"]
    assert a.told(LinkDown) == [LinkDown("authentication failed")]
    assert [event.reason for event in b.told(AuthFailed)] == ["Authentication error"]


def test_pap_the_peer_repeats_its_request_meanwhile() -> None:
    slow, a, b, wire = waiting(PAP)
    wire.run(10.0)  # every three seconds
    requests = [parsed(information).id for number, information in b.sent if number == 0xC023]
    assert len(requests) == 4 and len(slow.asked) == 1 and not answers(a, PAP)
    slow.answers[0](YES)
    wire.run(1.0)
    acks = [parsed(information) for number, information in a.sent if number == 0xC023]
    assert [(packet.code, packet.id) for packet in acks] == [(PAP_ACK, requests[-1])]
    assert a.ipcp.opened and b.ipcp.opened


def test_chap_is_not_challenged_again_while_its_answer_is_judged() -> None:
    slow, a, b, wire = waiting(CHAP_MD5)
    wire.run(20.0)
    codes = [parsed(information).code for number, information in a.sent if number == 0xC223]
    assert codes == [CHALLENGE] and len(slow.asked) == 1
    response = next(information for number, information in b.sent if number == 0xC223)
    a.give(RESPONSE, parsed(response).id, parsed(response).data, protocol=0xC223, now=wire.now)  # the peer repeats it
    assert len(slow.asked) == 1 and not answers(a, CHAP_MD5)
    slow.answers[0](YES)
    wire.run(1.0)
    assert answers(a, CHAP_MD5) == [SUCCESS] and a.ipcp.opened


@METHODS
def test_a_verdict_that_comes_after_the_line_was_cut(method: bytes) -> None:
    slow, a, b, wire = waiting(method)
    for end in (a, b):
        end.link.down(1.0)
    a.sent.clear()
    slow.answers[0](YES)
    a.link.tick(2.0)
    assert a.link.phase is Phase.DEAD and a.link.identity is None and not a.sent and a.link.deadline == math.inf


@METHODS
def test_a_verdict_for_a_negotiation_that_the_peer_has_begun_anew(method: bytes) -> None:
    slow, a, b, wire = waiting(method)
    wire.b = client(credentials=Credentials(b"mallory", b"x"), seed=5, echo_interval=0.0)
    wire.b.link.up(1.0)
    wire.settle()
    assert len(slow.answers) == 2
    slow.answers[0](YES)  # to a question of the link before
    wire.run(1.0)
    assert a.link.phase is Phase.AUTHENTICATE and a.link.identity is None and not answers(a, method)
    slow.answers[1]("wrong password")
    wire.run(1.0)
    assert [(event.name, event.reason) for event in a.told(AuthFailed)] == [("mallory", "wrong password")]


@METHODS
def test_only_the_first_verdict_counts(method: bytes) -> None:
    slow, a, b, wire = waiting(method)
    slow.answers[0]("no")
    slow.answers[0](YES)
    wire.run(1.0)
    assert not a.told(Authenticated) and len(a.told(AuthFailed)) == 1


@METHODS
def test_an_authenticator_that_never_answers(method: bytes) -> None:
    slow, a, b, wire = waiting(method)
    for _ in range(200):  # a peer more patient than most
        a.link.tick(wire.now)
        if not a.link.lcp.opened:
            break
        wire.now += 1.0
    assert VERDICT_PATIENCE <= wire.now <= VERDICT_PATIENCE + 2
    assert [event.reason for event in a.told(AuthFailed)] == [f"there was no verdict within {VERDICT_PATIENCE:g} s"]


@METHODS
def test_the_end_sees_to_the_tick_that_a_late_verdict_needs(method: bytes) -> None:
    """Nothing arrives and no timer is near: the end arms its deadline by itself."""
    slow, a, b, wire = waiting(method)
    slow.answers[0](YES)
    deadlines = a._deadlines
    assert deadlines.next() == -math.inf
    deadlines.expire(wire.now)
    assert answers(a, method) and a.link.identity == YES


def test_the_codes_of_pap_are_those_of_rfc_1334_section_2_2() -> None:
    for secret, last in ((b"sesame", 2), (b"wrong", 3)):
        a = server(auth=Pap())
        b = client(credentials=Credentials(b"guest", secret))
        wire = Wire(a, b)
        wire.up()
        wire.settle()
        request = next(information for number, information in b.sent if number == 0xC023)
        assert (
            request
            == b"\x01\x01" + (12 + len(secret) - 1).to_bytes(2, "big") + b"\x05guest" + bytes((len(secret),)) + secret
        )
        answer = next(information for number, information in a.sent if number == 0xC023)
        assert answer[:2] == bytes((last, 1)) and int.from_bytes(answer[2:4], "big") == len(answer)
        assert answer[4] == len(answer) - 5  # Msg-Length


def test_the_codes_of_chap_are_those_of_rfc_1994_section_4() -> None:
    for secret, last in ((b"sesame", 3), (b"wrong", 4)):
        a = server(auth=Chap())
        b = client(credentials=Credentials(b"guest", secret))
        wire = Wire(a, b)
        wire.up()
        wire.settle()
        challenge, answer = (parsed(information) for number, information in a.sent if number == 0xC223)
        (response,) = (parsed(information) for number, information in b.sent if number == 0xC223)
        assert (challenge.code, response.code, answer.code) == (1, 2, last)
        assert challenge.id == response.id == answer.id
        assert response.data == b"\x10" + chap_md5(challenge.id, secret, challenge.data[1:17]) + b"guest"


@METHODS
def test_packets_that_belong_to_the_other_side_are_dropped(method: bytes) -> None:
    """A client takes no requests, a server no answers."""
    slow, a, b, wire = waiting(method)
    before = len(a.sent)
    for code in (0, 2, 3, 5) if method == PAP else (0, 1, 3, 4, 5):
        a.link.receive(PROTOCOLS[method].to_bytes(2, "big") + build(code, 1, b"\x00"), 1.0)
    assert len(a.sent) == before and a.link.count["auth.dropped"] == (4 if method == PAP else 5)


class Pap(Secrets):
    demand = (PAP,)

    def __init__(self) -> None:
        from lcp.auth.secrets import Entry

        super().__init__([Entry(b"guest", b"*", b"sesame")])


class Chap(Pap):
    demand = (CHAP_MD5,)
