"""Two whole links back to back, phases, and authentication."""

import itertools
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipcp.protocol import Ipcp
from lcp.auth.secrets import Anyone, Entry, Identity, Secrets, chap_md5
from lcp.config import Credentials, LinkConfig
from lcp.events import (
    Authenticated,
    AuthFailed,
    Established,
    LinkDown,
    NetworkDown,
    NetworkUp,
    ProtocolRejected,
)
from lcp.fsm import State
from lcp.hdlc import Deframer
from lcp.link import Phase
from lcp.packet import Code, build
from lcp.protocol import CHAP_MD5
from tests.support.ppp_ends import GATEWAY, GUEST, End, OtherNcp, Wire, client, parsed, server

SECRETS = Secrets([Entry(b"guest", b"*", b"sesame", (GUEST,))])
GOOD = Credentials(b"guest", b"sesame")
CHAP, PAP = 0xC223, 0xC023
PAP_OPTION = b"\xc0\x23"


class Demanding(Secrets):
    """Secrets that ask for one method only."""

    def __init__(self, *demand: bytes) -> None:
        super().__init__(SECRETS.entries)
        self.demand = demand


def joined(a: End, b: End) -> Wire:
    wire = Wire(a, b)
    wire.up()
    wire.run(1.0)
    return wire


def collecting(packets: list[bytes]) -> Callable[[bytes, float], None]:
    return lambda packet, now: packets.append(packet)


def is_up(a: End, b: End) -> bool:
    return a.ipcp.opened and b.ipcp.opened and b.ipcp.local == GUEST == a.ipcp.remote and b.ipcp.remote == GATEWAY


def test_a_network_protocol_of_ones_own_beside_ipcp() -> None:
    a, b = server(), client()
    got: dict[End, list[bytes]] = {a: [], b: []}
    for end in (a, b):
        end.link.attach(OtherNcp(), collecting(got[end]))
    wire = joined(a, b)
    assert is_up(a, b) and {event.protocol for event in a.told(NetworkUp)} == {"IPCP", "Other"}
    for spelling in (b"\xf1", b"\x00\xf1"):
        a.link.receive(spelling + b"other", 1.0)
        a.link.receive(b"\x21ip", 1.0)
    b.line += b.framer.frame(0x00F1, b"in a frame")
    wire.settle()
    assert got[a] == [b"other", b"other", b"in a frame"] and a.packets == [b"ip", b"ip"]


def test_a_network_protocol_ends_without_the_others() -> None:
    a, b = server(), client()
    other, got = OtherNcp(), []
    a.link.attach(other, lambda packet, now: got.append(packet))
    b.link.attach(OtherNcp(), lambda packet, now: None)
    joined(a, b)
    a.give(Code.PROTOCOL_REJECT, 1, b"\x80\xf1" + build(1, 1))
    assert a.told(NetworkDown) == [NetworkDown("Other", "the guest does not have it")] and a.ipcp.opened
    a.link.receive(b"\xf1late", 1.0)
    a.link.receive(b"\x21ip", 1.0)
    assert not got and a.packets == [b"ip"] and a.link.count["link.out_of_phase"] == 1


def test_packets_go_to_whoever_they_are_delivered_to_last() -> None:
    a, b = server(), client()
    first, second = [], []
    a.link.deliver(0x21, lambda packet, now: first.append((packet, now)))
    joined(a, b)
    a.link.receive(b"\x21one", 1.0)
    a.link.deliver(0x21, lambda packet, now: second.append((packet, now)))
    a.link.receive(b"\x00\x21two", 2.0)
    assert first == [(b"one", 1.0)] and second == [(b"two", 2.0)] and not a.packets
    with pytest.raises(KeyError):
        a.link.deliver(0x0057, lambda packet, now: None)


def test_two_protocols_cannot_have_one_number() -> None:
    a = server()
    with pytest.raises(ValueError, match="IPCP already"):
        a.link.attach(Ipcp.client(), lambda packet, now: None)

    class Thief(OtherNcp):
        data_protocols = (0x0021,)

    with pytest.raises(ValueError, match="IP already"):
        a.link.attach(Thief(), lambda packet, now: None)


def test_a_link_says_what_it_is_in_plain_data() -> None:
    a, b = server(auth=SECRETS), client(credentials=GOOD)
    assert json.loads(json.dumps(a.link.status()))["phase"] == "dead"
    joined(a, b)
    status = json.loads(json.dumps(a.link.status()))
    assert (status["phase"], status["identity"], status["peer_mru"]) == ("network", "guest", 1500)
    assert status["options"].startswith("mru 1500 in, 1500 out")
    assert status["networks"]["IPCP"] == {
        "state": "opened",
        "addresses": "local 10.0.2.2, remote 10.0.2.15, DNS 10.0.2.3",
    }


def test_up_and_packets_flow() -> None:
    a, b = server(), client()
    wire = joined(a, b)
    assert is_up(a, b) and a.link.phase == Phase.NETWORK
    a.line += a.framer.frame(0x0021, b"to the guest")
    b.line += b.framer.frame(0x0021, b"to the host")
    wire.settle()
    assert b.packets == [b"to the guest"] and a.packets == [b"to the host"]
    assert a.events[-1] == NetworkUp(
        "IPCP",
        "local 10.0.2.2, remote 10.0.2.15, DNS 10.0.2.3",
        "mru 1500 in, 1500 out, asyncmap 0 in, 0 out, pcomp both ways, accomp both ways",
        "",
        0.0,
    )
    assert str(a.events[-1]).startswith("link up in 0.00 s: local 10.0.2.2, remote 10.0.2.15")


@pytest.mark.parametrize("later", [0.01, 0.4, 1.0, 2.99, 7.0, 29.0, 31.0, 1000.0])
def test_a_guest_that_comes_later_is_up_within_a_second(later: float) -> None:
    a, b = server(), client()
    wire = Wire(a, b, lambda data: data if b.link.lcp.state > State.STARTING else b"")
    a.link.up(0.0)
    wire.run(later)
    b.link.up(wire.now)
    wire.run(1.0)
    assert is_up(a, b)


METHODS = [b"\xc0\x23", b"\xc2\x23\x05"]


@pytest.mark.parametrize(
    "demand",
    [order for n in (1, 2) for order in itertools.permutations(METHODS, n)],
    ids=lambda demand: "-".join(value.hex() for value in demand),
)
def test_authentication_of_every_kind(demand: tuple[bytes, ...]) -> None:
    a, b = server(auth=Demanding(*demand)), client(credentials=GOOD)
    joined(a, b)
    assert is_up(a, b) and a.link.identity == Identity("guest", (GUEST,))
    protocol = "PAP" if demand[0] == METHODS[0] else "CHAP"
    assert a.told(Authenticated) == [Authenticated("guest", protocol)]
    assert protocol.lower() in a.told(Established)[0].options


@pytest.mark.parametrize("demand", METHODS, ids=["pap", "chap"])
@pytest.mark.parametrize("credentials", [Credentials(b"guest", b"wrong"), Credentials(b"nobody", b"sesame")])
def test_a_wrong_password_says_why_and_ends_the_link(demand: bytes, credentials: Credentials) -> None:
    a, b = server(auth=Demanding(demand)), client(credentials=credentials)
    joined(a, b)
    assert not a.ipcp.opened and not b.ipcp.opened
    (failed,) = a.told(AuthFailed)
    assert failed.name == credentials.user.decode() and b"sesame" not in str(a.events).encode()
    assert "wrong password" in failed.reason or "not in the secrets file" in failed.reason
    assert a.told(LinkDown) == [LinkDown("authentication failed")]
    assert [event.reason for event in b.told(AuthFailed)] == ["Authentication error"]


def test_after_a_wrong_password_the_next_caller_is_answered() -> None:
    a, b = server(auth=SECRETS), client(credentials=Credentials(b"guest", b"wrong"))
    wire = joined(a, b)
    wire.run(10.0)
    wire.b = client(credentials=GOOD, seed=9)
    wire.b.link.up(wire.now)
    wire.run(1.0)
    assert is_up(a, wire.b)


def test_a_guest_without_a_password_is_refused() -> None:
    a, b = server(auth=SECRETS), client()
    joined(a, b)
    assert a.told(AuthFailed) == [AuthFailed("", "", "the guest refuses to give a name and password")]
    assert not a.link.lcp.opened and not a.ipcp.opened


def test_a_client_knows_what_it_could_not_show() -> None:
    a, b = server(auth=SECRETS), client(peer="the server")
    joined(a, b)
    assert b.link.lcp.auth.denied == CHAP_MD5
    assert [event.reason for event in b.told(LinkDown)] == ["the server hung up (authentication failed)"]
    a, b = server(auth=Demanding(PAP_OPTION)), client(credentials=GOOD)
    joined(a, b)
    assert b.link.lcp.auth.denied is None and is_up(a, b)


def test_what_is_denied_at_first_and_then_granted_is_not_denied() -> None:
    a, b = server(auth=Demanding(b"\xc2\x27", PAP_OPTION)), client(credentials=GOOD)
    wire = Wire(a, b)
    wire.up()
    wire.settle()
    assert b.link.lcp.auth.denied is None and b.link.lcp.auth.theirs == PAP_OPTION and is_up(a, b)


def test_the_peer_is_called_what_the_link_was_told() -> None:
    b = client(peer="the server", max_configure=2)
    b.link.up(0.0)
    for now in (3.0, 6.0, 9.0):
        b.link.tick(now)
    assert [str(event) for event in b.events] == ["no answer to 2 Configure-Requests; waiting for the server to begin"]


def test_anyone_may_come_in_even_without_a_name() -> None:
    a, b = server(auth=Anyone()), client(credentials=Credentials(b"\xffx", b""))
    joined(a, b)
    assert is_up(a, b) and a.link.identity == Identity("\\xffx")
    a, b = server(auth=Anyone()), client()
    joined(a, b)
    assert is_up(a, b) and a.link.identity is None


def test_a_peer_that_offers_another_chap_falls_back_to_pap() -> None:
    a = server(auth=SECRETS)
    a.link.up(0.0)
    request = parsed(a.taken()[0])
    assert b"\x03\x05\xc2\x23\x05" in request.data
    a.give(Code.CONFIGURE_NAK, request.id, b"\x03\x05\xc2\x23\x81")
    request = parsed(a.taken()[-1])
    assert b"\x03\x04\xc0\x23" in request.data
    a.give(Code.CONFIGURE_NAK, request.id, b"\x03\x04\xc2\x27")
    assert b"\x03" not in {bytes((kind,)) for kind in parsed(a.taken()[-1]).data[:1]}


def test_both_ends_may_ask_each_other() -> None:
    a = server(auth=SECRETS, credentials=Credentials(b"host", b"h"))
    b = client(auth=Secrets([Entry(b"host", b"*", b"h")]), credentials=GOOD)
    joined(a, b)
    assert is_up(a, b) and a.link.identity is not None and b.link.identity is not None
    assert a.link.identity.name == "guest" and b.link.identity.name == "host"


def authenticating(demand: bytes, **changes: Any) -> End:
    """A server in the Authenticate phase; the peer is played by the test."""
    a = server(auth=Demanding(demand), echo_interval=0.0, **changes)
    a.link.up(0.0)
    request = parsed(a.taken()[0])
    a.give(Code.CONFIGURE_ACK, request.id, request.data)
    a.give(Code.CONFIGURE_REQUEST, 1)
    assert a.link.phase == Phase.AUTHENTICATE
    return a


PAP_GOOD = b"\x05guest\x06sesame"


def test_pap_repeated_after_success_gets_the_same_reply() -> None:
    a = authenticating(METHODS[0])
    a.taken()
    for identifier in (1, 1, 2):
        a.give(1, identifier, PAP_GOOD, protocol=PAP)
        assert [parsed(p)[:2] for p in a.taken(PAP)] == [(2, identifier)]
    # even a wrong one: the verdict stands
    a.give(1, 3, b"\x05guest\x01x", protocol=PAP)
    assert [parsed(p).code for p in a.taken(PAP)] == [2]
    assert len(a.told(Authenticated)) == 1


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x06guest", b"\x05guest", b"\x05guest\x07sesame", b"\xff\xff"])
def test_cve_2018_11574_inner_lengths_that_lie_are_dropped(data: bytes) -> None:
    a = authenticating(METHODS[0])
    a.taken()
    a.give(1, 1, data, protocol=PAP)
    assert not a.taken() and a.link.count["auth.dropped"] == 1


def test_chap_response_repeated_gets_the_same_reply_and_a_wrong_id_none() -> None:
    a = authenticating(METHODS[1])
    (challenge,) = map(parsed, a.taken(CHAP))
    value = chap_md5(challenge.id, b"sesame", challenge.data[1:17])
    response = b"\x10" + value + b"guest"
    a.give(2, challenge.id + 1 & 0xFF, response, protocol=CHAP)
    assert not a.taken(CHAP)
    for _ in range(2):
        a.give(2, challenge.id, response, protocol=CHAP)
        assert [parsed(p)[:2] for p in a.taken(CHAP)] == [(3, challenge.id)]  # Success: RFC 1994 section 4.2
    assert len(a.told(Authenticated)) == 1


@pytest.mark.parametrize("size", [0, 15, 17, 255])
@pytest.mark.parametrize("name", [0, 1, 255, 1200])
def test_cve_2020_8597_chap_value_size_and_long_names(size: int, name: int) -> None:
    a = authenticating(METHODS[1])
    (challenge,) = map(parsed, a.taken(CHAP))
    a.give(2, challenge.id, bytes((size,)) + b"x" * (size + name), protocol=CHAP)
    assert a.told(AuthFailed) and not a.told(Authenticated)
    a = authenticating(METHODS[1])
    a.taken()
    a.give(2, challenge.id, bytes((size + 1 & 0xFF,)) + b"x" * size, protocol=CHAP)
    assert not a.told(Authenticated)


@pytest.mark.parametrize("protocol", [0xC227, PAP])
def test_cve_2020_8597_an_auth_protocol_never_negotiated_is_dropped(protocol: int) -> None:
    a = authenticating(METHODS[1])
    a.taken()
    a.give(1, 1, b"\x04" + bytes(30), protocol=protocol)
    assert not a.sent and a.link.count["link.out_of_phase"] == 1
    a, b = server(), client()
    joined(a, b)
    a.taken()
    a.give(1, 1, b"\x04" + bytes(30), protocol=protocol)
    assert [parsed(p).code for p in a.taken()] == [Code.PROTOCOL_REJECT]


def test_our_own_challenge_is_never_answered() -> None:
    a = authenticating(METHODS[1], credentials=Credentials(b"host", b"h"))
    assert a.link.lcp.auth.theirs is None
    a = server(auth=Demanding(METHODS[1]), credentials=Credentials(b"host", b"h"))
    a.link.up(0.0)
    request = parsed(a.taken()[0])
    a.give(Code.CONFIGURE_ACK, request.id, request.data)
    a.give(Code.CONFIGURE_REQUEST, 1, b"\x03\x05\xc2\x23\x05")
    (challenge,) = map(parsed, a.taken(CHAP))
    a.give(1, 1, challenge.data, protocol=CHAP)
    assert not a.taken(CHAP)
    a.give(1, 1, b"\x10" + bytes(16) + b"guest", protocol=CHAP)
    assert [parsed(p).code for p in a.taken(CHAP)] == [2]


@pytest.mark.parametrize("demand", METHODS, ids=["pap", "chap"])
def test_a_guest_that_never_shows_who_it_is(demand: bytes) -> None:
    a = authenticating(demand)
    while a.link.lcp.opened:
        a.link.tick(a.link.deadline)
    assert len(a.told(AuthFailed)) == 1 and a.told(LinkDown) == [LinkDown("authentication failed")]


def test_ncp_before_authentication_is_silently_discarded() -> None:
    a = authenticating(METHODS[0])
    a.taken()
    for protocol in (0x8021, 0x80FD, 0x0021, 0x1234):
        a.give(1, 1, protocol=protocol)
    assert not a.sent and a.link.count["link.out_of_phase"] == 4


@pytest.mark.parametrize("state", [s for s in State if s != State.OPENED], ids=lambda s: s.name)
def test_non_lcp_outside_opened_is_silently_discarded(state: State) -> None:
    a = server()
    a.link.lcp.automaton.state = state
    for protocol in (0x8021, 0x80FD, 0x0021, 0x0057, 0xC023, 0x1234):
        a.give(1, 1, protocol=protocol)
    assert not a.sent and not a.packets and a.link.count["link.out_of_phase"] == 6


def test_ip_before_ipcp_is_open_is_silently_discarded() -> None:
    a, b = server(), End(LinkConfig(), None, 2)
    joined(a, b)
    assert a.link.phase == Phase.NETWORK
    a.sent.clear()
    a.link.receive(b"\x21E", 1.0)
    a.link.receive(b"\x00\x21E", 1.0)
    assert not a.packets and not a.sent and a.link.count["link.out_of_phase"] == 2


@pytest.mark.parametrize("protocol", [0x80FD, 0x8057, 0x0057, 0x002D, 0x802B, 0x0020, 0x4022, 0xC025, 0xFEFE])
def test_every_packet_of_an_unknown_protocol_gets_one_protocol_reject(protocol: int) -> None:
    a, b = server(), client()
    joined(a, b)
    a.taken()
    ids = set()
    for i in range(3):
        a.link.receive(protocol.to_bytes(2, "big") + build(1, i, b"\x1a\x04\x78\x00"), 1.0)
        (answer,) = map(parsed, a.taken())
        assert answer.code == Code.PROTOCOL_REJECT
        assert answer.data == protocol.to_bytes(2, "big") + build(1, i, b"\x1a\x04\x78\x00")
        ids.add(answer.id)
    assert len(ids) == 3 and is_up(a, b)


def test_an_odd_first_octet_is_a_short_protocol_field() -> None:
    a, b = server(), client()
    joined(a, b)
    a.taken()
    a.link.receive(b"\x57six", 1.0)
    assert parsed(a.taken()[0]).data == b"\x00\x57six"


@pytest.mark.parametrize("protocol", [0x8021, 0x0021])
def test_protocol_reject_of_ip_stops_only_that(protocol: int) -> None:
    a, b = server(), client()
    joined(a, b)
    a.taken()
    a.give(Code.PROTOCOL_REJECT, 1, protocol.to_bytes(2, "big") + b"\x01\x01\x00\x04")
    assert not a.sent and a.link.lcp.opened and not a.ipcp.opened
    assert a.told(NetworkDown) == [NetworkDown("IPCP", "the guest does not have it")]
    assert len(a.told(ProtocolRejected)) == 1
    a.give(1, 7, b"", protocol=0x8021)
    a.link.receive(b"\x21E", 1.0)
    assert not a.sent and not a.packets


@pytest.mark.parametrize("data", [b"\x80\xfd\x01", b"\x12\x34", b"\xc0\x23"])
def test_protocol_reject_of_what_we_do_not_speak_changes_nothing(data: bytes) -> None:
    a, b = server(), client()
    joined(a, b)
    a.sent.clear()
    a.give(Code.PROTOCOL_REJECT, 1, data)
    assert is_up(a, b) and not a.sent


@pytest.mark.parametrize("data", [b"", b"\x80"])
def test_protocol_reject_too_short(data: bytes) -> None:
    a, b = server(), client()
    joined(a, b)
    a.give(Code.PROTOCOL_REJECT, 1, data)
    assert is_up(a, b) and a.link.count["lcp.bad_length"] == 1


def test_protocol_reject_of_lcp_itself_shuts_down() -> None:
    a, b = server(), client()
    joined(a, b)
    a.give(Code.PROTOCOL_REJECT, 1, b"\xc0\x21\x01")
    assert a.link.lcp.state == State.STOPPING


def test_every_protocol_reject_fits_the_peers_mru() -> None:
    a, b = server(), client(mru=128)
    joined(a, b)
    a.taken()
    a.link.receive(b"\x80\xfd" + bytes(1400), 1.0)
    assert [len(p) for p in a.taken()] == [128]


def test_a_rebooted_guest_gets_the_same_address_at_once() -> None:
    a, b = server(), client()
    wire = joined(a, b)
    for i in range(20):
        wire.b = client(seed=10 + i)
        wire.b.link.up(wire.now)
        wire.run(0.6)
        assert is_up(a, wire.b)
    assert len(a.told(LinkDown)) == 20 and len(a.told(NetworkUp)) == 21
    assert not a.told(NetworkDown)


def test_both_close_in_order() -> None:
    a, b = server(), client()
    wire = joined(a, b)
    a.link.close(wire.now, "shutting down")
    wire.run(10.0)
    assert a.link.lcp.state == State.CLOSED and b.link.lcp.state == State.STOPPED
    assert a.told(LinkDown) == [LinkDown("shutting down")]
    assert b.told(LinkDown) == [LinkDown("the guest hung up (shutting down)")]


def test_carrier_lost_and_back() -> None:
    a, b = server(), client()
    wire = joined(a, b)
    a.link.down(wire.now)
    b.link.down(wire.now)
    assert a.told(LinkDown) == [LinkDown("the line was cut")] and a.link.phase == Phase.DEAD
    wire.up()
    wire.run(1.0)
    assert is_up(a, b)


def test_ipcp_ended_by_the_guest_alone() -> None:
    a, b = server(), client()
    joined(a, b)
    b.ipcp.close(1.0, "enough")
    wire = Wire(a, b)
    wire.run(5.0)
    assert a.link.lcp.opened and not a.ipcp.opened
    assert a.told(NetworkDown) == [NetworkDown("IPCP", "enough")]


@pytest.mark.parametrize("accm", [0, 0xA0000, 0xFFFFFFFF])
@pytest.mark.parametrize("mru", [296, 1500])
@pytest.mark.parametrize("short", [True, False])
def test_framing_options_of_the_guest(accm: int, mru: int, short: bool) -> None:
    a, b = server(), client(accm=accm, mru=mru, pfc=short, acfc=short)
    wire = joined(a, b)
    assert is_up(a, b) and a.link.peer_mru == mru
    packet = bytes(range(256))
    a.line += (frame := a.framer.frame(0x0021, packet))
    wire.settle()
    assert b.packets == [packet] and frame.startswith(b"\x21" if short else (b"\xff}#" if accm & 8 else b"\xff\x03"))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 0.4), st.sampled_from([None, *METHODS]))
def test_two_links_come_up_over_a_bad_line(seed: int, loss: float, demand: bytes | None) -> None:
    """Octets changed and chunks lost for a minute, then a good line: up within the timers' time."""
    chance = random.Random(seed)

    def spoil(data: bytes) -> bytes:
        if wire.now > 60 or chance.random() >= loss:
            return data
        if chance.random() < 0.5:
            return b""
        at = chance.randrange(len(data))
        return data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :]

    a = server(auth=Demanding(demand) if demand else None, echo_interval=5.0)
    b = client(credentials=GOOD if demand else None, echo_interval=5.0)
    wire = Wire(a, b, spoil)
    wire.up()
    wire.run(60.5)
    b.link.down(wire.now)
    b.link.up(wire.now)
    wire.run(80.0)
    assert is_up(a, b)
    assert a.longest <= 1500 and b.longest <= 1500


frame = st.one_of(
    st.binary(max_size=80),
    st.builds(
        lambda protocol, code, identifier, data: protocol + build(code, identifier, data),
        st.sampled_from([b"\xc0\x21", b"\x80\x21", b"\xc0\x23", b"\xc2\x23", b"\x80\xfd", b"\x00\x21", b"\x21"]),
        st.integers(0, 255),
        st.integers(0, 255),
        st.binary(max_size=60),
    ),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(frame, st.floats(0, 4)), max_size=30), st.sampled_from([None, *METHODS]))
def test_any_frames_raise_nothing_and_the_next_guest_comes_up(
    frames: list[tuple[bytes, float]], demand: bytes | None
) -> None:
    a = server(auth=Demanding(demand) if demand else None)
    a.link.up(0.0)
    now = 0.0
    for octets, later in frames:
        now += later
        a.link.tick(now)
        a.link.receive(octets, now)
        a.link.tick(now)
    assert a.longest <= 1500 and all(Deframer().feed(a.take()) or [True])
    wire = Wire(a, client(credentials=GOOD if demand else None))
    wire.now = now
    wire.b.link.up(now)
    wire.run(60.0)
    assert a.ipcp.opened and wire.b.ipcp.opened


def test_the_client_role_asks_again_for_the_address_it_had() -> None:
    a = server()
    b = End(LinkConfig(), Ipcp.client(bytes((10, 0, 2, 77))), 3)
    joined(a, b)
    assert b.ipcp.local == bytes((10, 0, 2, 77)) == a.ipcp.remote


def test_a_request_that_an_echoing_terminal_took_is_soon_repeated() -> None:
    """QEMU's guest, its tty not yet raw: our request and our Nak come back, and only then the guest begins."""
    gateway, guest = server(), client()
    gateway.link.up(0.0)
    for _ in range(3):
        gateway.feed(b"~" + gateway.take(), 3.0)
    guest.link.up(3.01)
    gateway.feed(b"~" + guest.take(), 3.01)
    gateway.taken()
    again = gateway.link.deadline
    assert again <= 3.01 + 0.5
    gateway.link.tick(again)
    assert [packet[0] for packet in gateway.taken()] == [1]
