"""pppgate.eoppp.dialer and .call: calls to a server of this project, on links that come and go, on a fake clock."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ipcp.protocol import Ipcp
from lcp.auth.secrets import Anyone, Entry, Secrets
from lcp.config import Credentials, LinkConfig
from pppgate.eoppp.call import NEGOTIATION_MOST, SETTLE, Agreed, Terms
from pppgate.eoppp.chat import parse
from pppgate.eoppp.dialer import HOLD, RETRY_MOST, Habits, State
from tests.support.dial_world import World
from tests.support.ppp_ends import DNS, GATEWAY, GUEST, End, lender_of, server

UP = Agreed(GUEST, GATEWAY, (DNS,), 1500)
LINK = LinkConfig(peer="the server")
SECRETS = Secrets([Entry(b"guest", b"*", b"sesame")])
PACKET = b"\x45\0\0\x14" + bytes(16)


def started(habits: Habits | None = None, **changes: Any) -> World:
    world = World(habits, **changes)
    world.start()
    return world


def test_a_call_brings_addresses_name_servers_and_mtu() -> None:
    world = started(make_server=lambda: server(mru=1000))
    assert world.customer.told == [replace(UP, mtu=1000)] and world.dialer.state is State.UP
    assert world.said[0] == "The PPP server is on a fake line."
    assert "line: link up in 0.00 s: local 10.0.2.15, remote 10.0.2.2, DNS 10.0.2.3" in world.said[1]


def test_our_own_mtu_is_a_bound_too() -> None:
    assert started(terms=Terms(LINK, mtu=576)).customer.told == [replace(UP, mtu=576)]


def test_packets_go_both_ways_once_the_server_has_settled() -> None:
    world = started()
    world.customer.line.send(PACKET, "flow")
    world.run(SETTLE - 0.01)
    assert world.server.packets == []
    world.run(0.02)
    assert world.server.packets == [PACKET]
    world.customer.line.send(PACKET, "flow")
    world.settle()
    assert len(world.server.packets) == 2
    world.wire.incoming.append(b"~" + world.server.framer.frame(0x21, PACKET))
    world.settle()
    assert world.customer.got == [PACKET]


def test_a_cut_line_is_dialed_again_and_the_same_address_asked_for() -> None:
    wishes = []

    def far() -> End:
        def lease(wanted: bytes | None) -> bytes:
            wishes.append(wanted)
            return GUEST

        return End(LinkConfig(), Ipcp.server(GATEWAY, lender_of(lease), [DNS]), 1)

    world = started(make_server=far)
    world.run(60)
    world.hang_up()
    assert world.customer.told == [UP, None] and world.link.stopped and world.lines == ["opened", "closed"]
    assert world.said[-1] == "line: link down: the line was cut; trying again in 1 s."
    wishes.clear()
    world.run(0.9)
    assert world.lines == ["opened", "closed"]
    world.run(0.2)
    assert world.customer.told == [UP, None, UP] and wishes[0] == GUEST


def test_a_server_that_hangs_up_says_why() -> None:
    world = started()
    world.run(30)
    world.server.link.close(world.clock.time, "time is up")
    world.run(0.5)
    assert "line: link down: the server hung up (time is up); trying again in 1 s." in world.said
    world.run(2)
    assert world.customer.told == [UP, None, UP]


def test_a_server_that_begins_anew_is_negotiated_with_on_the_same_line() -> None:
    world = started()
    world.run(5)
    world.far = server(seed=9)
    world.server.link.up(world.clock.time)
    world.run(1)
    assert world.customer.told == [UP, None, UP] and world.lines == ["opened"]
    assert "line: link down: the server has begun to negotiate anew; negotiating anew." in world.said


def test_a_server_that_is_silent_is_found_out_by_echoes() -> None:
    world = started(terms=Terms(replace(LINK, echo_interval=2.0, echo_failures=3)))
    world.far = None
    world.run(9.9)
    assert "line: link down: no answer to 3 echo requests; trying again in 1 s." in world.said


def test_waits_grow_are_bounded_and_short_again_after_a_good_link() -> None:
    world = started(make_server=None)
    world.run(10 * 30 + 200)
    waits = [line.rpartition(" in ")[2] for line in world.said if "trying again" in line]
    assert waits[:6] == ["1 s.", "2 s.", "4 s.", "8 s.", "16 s.", f"{RETRY_MOST:g} s."]
    assert "line: no link: the server does not answer; trying again in 4 s." in world.said
    world.make_server = server
    world.run(100)
    assert world.dialer.state is State.UP
    world.hang_up()
    assert world.said[-1].endswith("trying again in 1 s.")


def test_a_device_that_is_gone_for_a_while() -> None:
    world = started()
    world.run(20)
    world.broken = True
    world.hang_up()
    world.run(2)
    assert world.said[-1] == "/dev/fake does not exist: plug it in; trying again in 2 s."
    world.broken = False
    world.run(2)
    assert world.dialer.state is State.UP


def test_without_persist_the_first_end_is_the_last() -> None:
    world = started(Habits(persist=False))
    world.run(20)
    world.hang_up()
    world.run(100)
    assert world.status == [0] and world.lines == ["opened", "closed"]
    world = started(Habits(persist=False), make_server=None)
    world.run(60)
    assert world.status == [1] and world.said[-1] == "line: no link: the server does not answer."


def test_so_many_tries_and_no_more() -> None:
    world = started(Habits(tries=3), make_server=None)
    world.run(300)
    assert world.status == [1] and world.lines.count("opened") == 3
    assert world.said[-1].endswith("the server does not answer; it has failed 3 times in a row, and that is enough.")


# Who we are


def auth_terms(password: bytes | None) -> Terms:
    return Terms(replace(LINK, credentials=Credentials(b"guest", password) if password is not None else None))


@pytest.mark.parametrize("auth", [SECRETS, Anyone()])
def test_credentials_are_shown(auth: Anyone | Secrets) -> None:
    assert started(terms=auth_terms(b"sesame"), make_server=lambda: server(auth=auth)).customer.told == [UP]


def test_a_wrong_password_is_said_and_tried_again() -> None:
    world = started(terms=auth_terms(b"no"), make_server=lambda: server(auth=SECRETS))
    world.run(1)
    said = "line: no link: CHAP authentication of 'guest' failed: Authentication error; trying again in 1 s."
    assert said in world.said


def test_what_the_server_wants_and_we_have_not_is_one_sentence() -> None:
    world = started(make_server=lambda: server(auth=SECRETS))
    world.run(1)
    words = "the server wants a name and password (chap MD5); give them with --user and --password-file"
    assert f"line: no link: {words}; trying again in 1 s." in world.said


def test_a_method_that_is_not_known_here_is_named() -> None:
    class Eap(Secrets):
        demand = (b"\xc2\x27",)

    world = started(terms=auth_terms(b"x"), make_server=lambda: server(auth=Eap([])))
    world.run(20)
    assert any("the server wants to be shown the password by eap" in line for line in world.said)


# Servers that are odd


def far_ipcp(lease: bytes | None, dns: Sequence[bytes] = ()) -> End:
    return End(LinkConfig(), Ipcp.server(GATEWAY, lender_of(lambda wanted: lease), dns), 1)


def test_a_server_without_name_servers_or_an_address_of_its_own() -> None:
    world = started(make_server=lambda: End(LinkConfig(), Ipcp.server(bytes(4), lender_of(lambda wanted: GUEST)), 1))
    (agreed,) = world.customer.told
    assert agreed is not None and (agreed.local, agreed.dns) == (GUEST, ())
    assert agreed.remote in (None, bytes((192, 0, 0, 1)))


def test_a_server_that_gives_no_address() -> None:
    world = started(make_server=lambda: far_ipcp(lease=None))
    world.run(2)
    assert world.customer.told == []
    assert any("the server gave no address; name the one that it expects with --address" in line for line in world.said)
    world = started(Habits(address=GUEST), make_server=lambda: far_ipcp(lease=None))
    agreed = world.customer.told[0]
    assert agreed is not None and agreed.local == GUEST


@pytest.mark.parametrize("address", [b"\x7f\0\0\1", b"\xe0\0\0\1", b"\xff\xff\xff\xff", b"\xa9\xfe\1\1"])
def test_an_absurd_address_is_none(address: bytes) -> None:
    world = started(make_server=lambda: far_ipcp(lease=address))
    world.run(2)
    assert world.customer.told == [] and any("gave no address" in line for line in world.said)


def test_absurd_name_servers_are_left_out() -> None:
    world = started(make_server=lambda: far_ipcp(lease=GUEST, dns=[b"\xff\xff\xff\xff", DNS]))
    agreed = world.customer.told[0]
    assert agreed is not None and agreed.dns == (DNS,)


def test_a_server_that_has_no_ip() -> None:
    world = started(make_server=lambda: End(LinkConfig(), None, 1))
    world.run(2)
    assert any("no link: the server carries no IP" in line for line in world.said)


class Echo:
    """A terminal that says what it hears."""

    class Link:
        deadline = float("inf")

        def up(self, now: float) -> None: ...
        def tick(self, now: float) -> None: ...

    def __init__(self) -> None:
        self.link = self.Link()
        self.heard = b""

    def feed(self, data: bytes, now: float) -> None:
        self.heard += data

    def take(self) -> bytes:
        heard, self.heard = self.heard, b""
        return heard


def test_a_line_that_echoes_wants_a_chat_script() -> None:
    world = started(make_server=Echo)
    world.run(60)
    assert any("our own packets come back: no PPP runs at the other end yet" in line for line in world.said)


def test_a_negotiation_that_leads_nowhere_ends() -> None:
    """A server that acks LCP and then is silent."""

    def far() -> End:
        end = server()
        end.ipcp.receive = lambda information, now: None  # type: ignore[method-assign]
        return end

    world = started(make_server=far)
    world.run(NEGOTIATION_MOST + 2)
    assert any("no link: " in line for line in world.said) and not world.customer.told


# The chat script


def chatting(script: str) -> World:
    return World(terms=Terms(LINK, chat=parse(script)), make_server=None)


def test_the_script_comes_first_and_what_follows_is_ppp() -> None:
    world = chatting('ABORT BUSY "" ATD1 CONNECT \\c')
    world.start()
    assert world.wire.written == b"ATD1\r"
    world.wire.written = b""
    world.far = server()
    world.server.link.up(world.clock.time)
    first = world.server.take()
    world.wire.incoming.append(b"ATD1\r\r\nCONNECT 33600\r\n~" + first)
    world.settle()
    assert world.customer.told == [UP]
    assert world.detail == ["line: chat: sent 'ATD1'", "line: chat: got 'CONNECT'"]


@pytest.mark.parametrize(
    ("answer", "says"),
    [(b"BUSY\r\n", "the line said 'BUSY'"), (b"", "'CONNECT' did not come within 5 s; the line said nothing")],
)
def test_a_script_that_fails_is_a_failed_call(answer: bytes, says: str) -> None:
    world = chatting('ABORT BUSY TIMEOUT 5 "" ATD1 CONNECT \\c')
    world.start()
    if answer:
        world.wire.incoming.append(answer)
    world.run(0.5 if answer else 5.5)
    assert world.said[-1] == f"line: no link: the chat script failed: {says}; trying again in 1 s."
    assert world.lines == ["opened", "closed"] and not world.clock.readers


def test_a_line_cut_in_the_script() -> None:
    world = chatting("OK x")
    world.start()
    world.hang_up("/dev/x was closed by the other side")
    assert "/dev/x was closed by the other side while 'OK' was waited for" in world.said[-1]


def test_a_port_that_takes_little_gets_the_script_all_the_same() -> None:
    world = chatting('"" ATDT5551234 CONNECT \\c')
    taken = []
    world.dialer.start(world.clock.time)
    wire = world.wire
    wire.written = b""

    def write(data: bytes) -> int:
        taken.append(data[:3])
        return len(data[:3])

    wire.write = write  # type: ignore[method-assign]
    assert world.dialer.call is not None
    world.dialer.call._send(b"ABCDEFGH")
    while wire.write_fd in world.clock.writers:
        world.clock.writers[wire.write_fd](world.clock.time)
    assert b"".join(taken) == b"ABCDEFGH"


# On demand


def test_on_demand_it_waits_until_it_is_wanted_and_hangs_up_when_idle() -> None:
    world = started(Habits(demand=True, idle=20))
    world.run(100)
    assert world.lines == [] and world.said == ["The link on a fake line comes up when a guest wants it."]
    world.dialer.wake(world.clock.time)
    state = world.dialer.state
    assert world.dialer.hopeful or state is State.UP
    world.settle()
    assert world.customer.told == [UP]
    world.run(15)
    world.dialer.note_traffic(world.clock.time)
    world.run(15)
    state = world.dialer.state
    assert state is State.UP
    world.run(10)
    assert world.dialer.state is State.IDLE and world.customer.told == [UP, None]
    said = "line: link down: nothing was sent or received for 20 s; it comes up again when it is wanted."
    assert world.said[-1] == said
    world.dialer.wake(world.clock.time)
    world.settle()
    assert world.customer.told == [UP, None, UP]


def test_on_demand_a_failure_waits_and_then_it_has_to_be_wanted_again() -> None:
    world = started(Habits(demand=True), make_server=None)
    world.dialer.wake(world.clock.time)
    world.run(30.5)
    state = world.dialer.state
    assert state is State.WAITING and not world.dialer.hopeful
    assert world.said[-1].endswith("it is tried again when it is wanted, in 1 s at the earliest.")
    world.dialer.wake(world.clock.time)
    world.run(60)
    assert world.dialer.state is State.IDLE and world.lines.count("opened") == 1
    world.dialer.wake(world.clock.time)
    assert world.lines.count("opened") == 2


# Links on which somebody has to come


def test_a_pty_stays_and_its_ports_are_used_as_they_come() -> None:
    world = World(scheme="pty")
    world.start()
    assert world.dialer.state is State.LINE and world.dialer.hopeful
    world.run(HOLD + 1)
    assert not world.dialer.hopeful
    world.link.come()
    world.settle()
    assert world.customer.told == [UP]
    world.run(20)
    link = world.link
    world.hang_up()
    link.come()  # while we wait: it is kept
    world.settle()
    assert world.customer.told == [UP, None]
    world.run(2)
    assert world.customer.told == [UP, None, UP] and world.link is link and not link.stopped


def test_a_second_caller_is_turned_away_while_there_is_one() -> None:
    world = World(scheme="tcp-listen")
    world.start()
    first, server_one = world.wire, world.server
    second = world.link.come()
    assert second.closed and not first.closed
    world.port, world.far = first, server_one
    world.settle()
    assert world.customer.told == [UP]


def test_a_kept_port_that_has_ended_makes_room_for_the_next() -> None:
    world = World(Habits(demand=True), scheme="pty")
    world.start()
    stale = world.link.come()
    world.far = None
    stale.gone = "it left"
    world.settle()
    world.dialer.wake(world.clock.time)
    assert stale.closed and world.dialer.state is State.LINE
    world.link.come()
    world.settle()
    assert world.customer.told == [UP]


def test_a_link_that_ends_for_good_ends_it_all() -> None:
    world = World(scheme="stdio")
    world.start()
    world.link.come()
    world.run(20)
    world.link.ended()
    world.hang_up()
    assert world.status == [0]


# The end


def test_the_end_is_a_terminate_request() -> None:
    world = started()
    world.run(5)
    far = world.server
    world.dialer.end(world.clock.time)
    world.run(0.5)
    assert world.status == [0] and world.lines == ["opened", "closed"]
    assert "the bridge is being shut down" in str(far.events[-1])
    world.run(100)
    assert world.lines == ["opened", "closed"]


def test_the_end_does_not_wait_for_a_server_that_is_gone() -> None:
    world = started()
    world.far = None
    world.dialer.end(world.clock.time)
    world.run(1.2)
    assert world.status == [0]


@pytest.mark.parametrize("habits", [Habits(), Habits(demand=True)])
def test_the_end_before_any_call(habits: Habits) -> None:
    world = World(habits, scheme="pty")
    world.start()
    world.dialer.end(world.clock.time)
    assert world.status == [0]
    world.dialer.close(world.clock.time)
    assert world.link.stopped


def test_close_lets_go_of_everything_at_once() -> None:
    for script in ("", "OK x"):
        world = World(terms=Terms(LINK, chat=parse(script) if script else ()))
        world.start()
        world.dialer.close(world.clock.time)
        assert world.lines == ["opened", "closed"] and not world.clock.readers
        world.run(100)
        assert world.lines == ["opened", "closed"]
