"""Leases from the pool of the NAT; and several clients against the server, with a model of who has what."""

import json
import math
from ipaddress import IPv4Network

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ipcp.pool import Pool
from nat.deadlines import Deadlines
from pppgate.dhcp.leases import ASIDE, ASIDE_MOST, GRACE, HOLD, KEYS_MOST, PoolLeases
from pppgate.dhcp.server import Settings
from tests.support.dhcp_bench import (
    ACK,
    DECLINE,
    DISCOVER,
    LEASE,
    NAK,
    OFFER,
    RELEASE,
    REQUEST,
    Bench,
    Options,
    Reply,
    ip,
    message,
)


class Case:
    """A pool with leases of 100 s; `used`: by hosts that the pool does not know."""

    def __init__(self, net: str = "10.0.2.0/29", lease: float = 100.0) -> None:
        network = IPv4Network(net)
        first = network.network_address
        self.pool = Pool(network, ((first + 1).packed,), (first + 2).packed)
        self.used: dict[bytes, str] = {}  # addresses that hosts use, and the key by which each host is known
        self.leases = PoolLeases(self.pool, self._in_use, Deadlines(), lease)

    def _in_use(self, address: bytes, key: str) -> bool:
        return address in self.used and self.used[address] != key


def test_what_the_leases_say_that_they_are() -> None:
    case = Case()
    assert case.leases.bind("a", ip(4), 0.0)
    case.leases.wish("b", None, 10.0)
    case.leases.bind("c", ip(5), 10.0)
    case.leases.decline("c", ip(5), 10.0)
    status = case.leases.status(20.0)
    assert json.loads(json.dumps(status, allow_nan=False)) == status
    assert status == {
        "offers": [{"key": "b", "address": "10.0.2.2", "left": HOLD - 10}],
        "leases": [{"key": "a", "address": "10.0.2.4", "left": 80 + GRACE}],
        "aside": ["10.0.2.5"],
    }
    for_ever = Case(lease=math.inf)
    for_ever.leases.bind("a", ip(4), 0.0)
    assert for_ever.leases.status(1e9)["leases"] == [{"key": "a", "address": "10.0.2.4"}]


def test_a_wish_is_the_same_when_asked_again_and_held_a_while() -> None:
    case = Case()
    assert case.leases.wish("a", None, 0.0) == case.leases.wish("a", None, 5.0) == ip(2)
    assert case.leases.wish("b", ip(2), 5.0) == ip(3)
    case.leases.tick(5.0 + HOLD)
    assert case.leases.holder(ip(2)) is None and len(case.leases) == 0
    assert case.leases.wish("b", ip(2), 99.0) == ip(2)


def test_who_finds_another_host_at_its_address_is_offered_another() -> None:
    case = Case()
    assert case.leases.bind("a", ip(2), 0.0)
    case.used[ip(2)] = "a static host"
    assert not case.leases.bind("a", ip(2), 1.0)
    assert case.leases.wish("a", None, 1.0) == ip(3)
    assert case.leases.bind("a", ip(3), 1.0)


def test_an_offer_may_be_replaced_by_a_wish_and_a_lease_may_not() -> None:
    case = Case()
    case.leases.wish("a", None, 0.0)
    assert case.leases.wish("a", ip(5), 0.0) == ip(5)
    assert case.leases.bind("a", ip(5), 0.0)
    assert case.leases.wish("a", ip(2), 0.0) == ip(5)
    assert not case.leases.bind("a", ip(2), 0.0)
    assert case.leases.holder(ip(5)) == "a" and case.leases.holder(ip(2)) is None


def test_a_lease_runs_out_with_some_grace_and_the_address_is_remembered() -> None:
    case = Case()
    assert case.leases.bind("a", ip(4), 0.0)
    assert case.leases.deadline == 100 + GRACE
    case.leases.tick(99 + GRACE)
    assert case.leases.holder(ip(4)) == "a"
    case.leases.tick(100 + GRACE)
    assert case.leases.holder(ip(4)) is None and case.leases.deadline == math.inf
    assert case.leases.wish("b", None, 300.0) == ip(2)
    assert case.leases.wish("a", None, 300.0) == ip(4)


def test_renewals_move_the_end() -> None:
    case = Case()
    for now, key, last in ((0.0, "a", 4), (50.0, "a", 4), (60.0, "b", 5), (140.0, "a", 4)):
        assert case.leases.bind(key, ip(last), now)
    case.leases.tick(60 + 100 + GRACE)
    assert (case.leases.holder(ip(4)), case.leases.holder(ip(5))) == ("a", None)


def test_for_ever() -> None:
    case = Case(lease=math.inf)
    case.leases.bind("a", ip(4), 0.0)
    case.leases.tick(1e12)
    assert case.leases.holder(ip(4)) == "a" and case.leases.deadline == math.inf


def test_asking_for_addresses_that_cannot_be_leaves_nothing_behind() -> None:
    case = Case()
    case.leases.bind("a", ip(3), 0.0)
    case.leases.bind("gone", ip(2), 0.0)
    case.leases.release("gone", ip(2), 0.0)
    case.used = {ip(6): "static"}
    for address in (ip(0), ip(1), ip(3), ip(6), ip(7), ip(99), bytes(4), b"", bytes(16)):
        assert not case.leases.bind("b", address, 0.0), address
    assert len(case.leases) == 1
    assert case.leases.wish("gone", None, 0.0) == ip(2)


def test_an_address_in_use_is_not_given() -> None:
    case = Case()
    case.used = {ip(2): "static", ip(3): "static"}
    assert case.leases.wish("a", ip(3), 0.0) == ip(4)
    assert not case.leases.bind("b", ip(2), 0.0)
    assert case.leases.bind("b", ip(6), 0.0)


def test_an_address_is_not_taken_from_who_uses_it() -> None:
    case = Case()
    case.leases.bind("a", ip(6), 0.0)
    case.used = {ip(6): "a"}
    case.leases.tick(1e6)
    assert case.leases.holder(ip(6)) == "a"
    case.used = {ip(6): "a static host that came meanwhile"}
    case.leases.tick(2e6)
    assert case.leases.holder(ip(6)) is None
    assert case.leases.wish("a", ip(6), 2e6) == ip(2)


def test_a_guest_of_another_kind_shares_the_pool() -> None:
    case = Case()
    assert case.pool.lease("pty:/tmp/modem#0") == ip(2)
    assert not case.leases.bind("a", ip(2), 0.0)
    assert case.leases.wish("a", None, 0.0) == ip(3)
    assert case.pool.lease("pty:/tmp/modem#1", ip(3)) == ip(4)
    case.leases.release("a", ip(2), 0.0)
    case.leases.decline("a", ip(2), 0.0)
    assert case.leases.holder(ip(2)) == "pty:/tmp/modem#0"


def test_what_the_pool_was_told_otherwise() -> None:
    case = Case()
    case.leases.bind("a", ip(2), 0.0)
    case.pool.release("a")
    case.pool.lease("somebody", ip(2))
    assert case.leases.wish("a", None, 1.0) == ip(3)
    case.leases.tick(1e6)
    assert case.leases.holder(ip(2)) == "somebody"


def test_a_declined_address_comes_back_later_or_when_there_is_no_other() -> None:
    case = Case()
    case.leases.bind("a", ip(2), 0.0)
    case.leases.decline("a", ip(2), 1.0)
    assert case.leases.wish("a", ip(2), 2.0) == ip(3)
    assert [case.leases.wish(key, None, 2.0) for key in "bcd"] == [ip(4), ip(5), ip(6)]
    for key, last in zip("abcd", (3, 4, 5, 6), strict=True):
        assert case.leases.bind(key, ip(last), 2.0)
        case.used[ip(last)] = key
    assert case.leases.wish("e", None, 3.0) == ip(2)
    assert case.leases.wish("f", None, 3.0) == ip(2)  # which was only offered

    case = Case()
    case.leases.bind("a", ip(2), 0.0)
    case.leases.decline("a", ip(2), 1.0)
    assert case.leases.deadline == 1 + ASIDE
    case.leases.tick(1 + ASIDE)
    assert case.leases.wish("b", ip(2), 1000.0) == ip(2)


def test_a_guest_that_declines_everything_does_not_empty_the_pool() -> None:
    case = Case("10.0.2.0/24")
    for _ in range(1000):
        address = case.leases.wish("evil", None, 0.0)
        assert address is not None and case.leases.bind("evil", address, 0.0)
        case.leases.decline("evil", address, 0.0)
    aside = [last for last in range(256) if case.leases.holder(ip(last)) is not None]
    assert len(aside) == ASIDE_MOST
    assert case.leases.wish("good", None, 0.0) is not None


def test_a_full_network_withdraws_the_oldest_offer_but_no_lease_that_is_used() -> None:
    case = Case()
    assert [case.leases.wish(key, None, now) for now, key in enumerate("abcde")] == [ip(n) for n in range(2, 7)]
    assert case.leases.bind("a", ip(2), 6.0)
    assert case.leases.wish("f", None, 7.0) == ip(3)
    for key, last in zip("fcde", (3, 4, 5, 6), strict=True):
        assert case.leases.bind(key, ip(last), 8.0)
    case.used = {address: key for key in "afcde" if (address := case.leases.wish(key, None, 8.0)) is not None}
    assert case.leases.wish("g", None, 9.0) is None and not case.leases.bind("g", ip(3), 9.0)
    assert case.leases.wish("a", None, 9.0) == ip(2)


def test_who_leases_all_addresses_and_uses_one_keeps_nobody_out() -> None:
    case = Case()
    for key, last in zip("abcde", range(2, 7), strict=True):
        assert case.leases.bind(key, ip(last), 1.0)
    case.used = {ip(2): "a"}
    assert case.pool.lease("a guest on a serial line") == ip(3)
    assert case.leases.wish("f", None, 2.0) == ip(4) and case.leases.bind("f", ip(4), 2.0)
    assert case.leases.holder(ip(2)) == "a" and not case.leases.bind("b", ip(3), 3.0)


def test_leases_and_offers_are_bounded() -> None:
    case = Case("10.0.0.0/16")
    for number in range(KEYS_MOST + 100):
        assert case.leases.wish(str(number), None, 0.0) is not None
    assert len(case.leases) == KEYS_MOST
    for number in range(KEYS_MOST):
        address = case.leases.wish(f"bound {number}", None, 0.0)
        assert address is not None and case.leases.bind(f"bound {number}", address, 0.0)
        case.used[address] = f"bound {number}"
    assert len(case.leases) == KEYS_MOST
    assert case.leases.wish("more", None, 0.0) is None
    kept = case.leases.wish("bound 7", None, 0.0)
    assert kept is not None
    del case.used[kept]
    assert case.leases.wish("more", None, 0.0) is not None, "a lease that nobody uses makes room"
    assert case.leases.holder(kept) is None and len(case.leases) == KEYS_MOST
    case.used.clear()
    assert case.leases.wish("later", None, 1000.0) is not None


@pytest.mark.parametrize("wanted", [b"", b"\x0a\0\2", bytes(16)])
def test_a_wish_that_is_no_address(wanted: bytes) -> None:
    assert Case().leases.wish("a", wanted, 0.0) == ip(2)


# Several clients against the server

TAKEN = (ip(1), ip(2))
FREE = [ip(last) for last in range(3, 7)]
SHARED = b"\xff\0\0\0\1copied"
Who = tuple[bytes, bytes | None]
"""A card's address, and a client identifier where it says one."""

CARDS = [bytes((2, 0, 0, 0, 0, number)) for number in range(4)]
CLIENTS = [(card, name) for card in CARDS for name in (None, SHARED, b"\0its own" + card)]
clients = st.sampled_from(CLIENTS)
addresses = st.sampled_from([ip(last) for last in range(8)])


class Several(RuleBasedStateMachine):
    """Twelve clients on four cards in a network of four addresses; one client identifier is on all cards."""

    def __init__(self) -> None:
        super().__init__()
        told = Settings(ip(1), 29, (ip(1),), (ip(2),), 1500, LEASE)
        self.bench = Bench(told, "10.0.2.0/29", TAKEN, ip(3))
        self.now = 0.0
        self.offered: dict[Who, bytes] = {}
        self.bound: dict[Who, tuple[bytes, float]] = {}
        self.granted: dict[bytes, tuple[bytes, float]] = {}  # address -> card, until

    def give(self, client: Who, kind: int | None, options: Options = (), ciaddr: bytes = bytes(4)) -> Reply | None:
        mac, name = client
        identity = [] if name is None else [(61, name)]
        full = all(each in self.bench.used or self.bench.pool.holder(each) is not None for each in FREE)
        reply = self.bench.give(message(kind, [*identity, *options], mac=mac, ciaddr=ciaddr), self.now)
        if reply is not None and reply.kind in (OFFER, ACK, None):
            assert reply.address in FREE
            assert reply.address not in self.bench.used
            card, until = self.granted.get(reply.address, (mac, 0.0))
            assert full or card == mac or until < self.now, "somebody else's"
            if full and self.live(client) != reply.address:
                self.lost(card, reply.address)  # it had to make room
        if reply is not None and reply.kind in (ACK, None):
            if reply.kind == ACK:
                self.bound[client] = (reply.address, self.now + LEASE)
            self.granted[reply.address] = (mac, self.now + LEASE)
        return reply

    def lost(self, mac: bytes, address: bytes) -> None:
        self.granted.pop(address, None)
        self.bound = {each: has for each, has in self.bound.items() if (each[0], has[0]) != (mac, address)}

    def live(self, client: Who) -> bytes | None:
        address, until = self.bound.get(client, (b"", 0.0))
        return address if until > self.now else None

    @rule(client=clients, wanted=st.none() | addresses)
    def discovers(self, client: Who, wanted: bytes | None) -> None:
        wanted = self.live(client) or wanted
        reply = self.give(client, DISCOVER, [] if wanted is None else [(50, wanted)])
        if reply is not None:
            self.offered[client] = reply.address
            assert self.live(client) in (None, reply.address)
        else:
            gone = {address for address, (_, until) in self.granted.items() if until + GRACE >= self.now}
            assert gone | set(self.bench.used) == set(FREE), "there was a free one"

    @precondition(lambda self: self.offered)
    @rule(data=st.data())
    def takes_the_offer(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(sorted(self.offered, key=str)))
        self.give(client, REQUEST, [(50, self.offered.pop(client)), (54, ip(1))])

    @rule(client=clients)
    def comes_up(self, client: Who) -> None:
        """Discover and request without a pause: what was offered is granted."""
        wanted = self.live(client)
        offered = self.give(client, DISCOVER, [] if wanted is None else [(50, wanted)])
        if offered is not None:
            reply = self.give(client, REQUEST, [(50, offered.address), (54, ip(1))])
            assert reply is not None and (reply.kind, reply.address) == (ACK, offered.address)

    @rule(client=clients, address=addresses)
    def reboots_with_any_address(self, client: Who, address: bytes) -> None:
        reply = self.give(client, REQUEST, [(50, address)])
        assert reply is None if address == bytes(4) else reply is not None
        if reply is not None and reply.kind == ACK:
            assert reply.address == address

    @precondition(lambda self: self.bound)
    @rule(data=st.data())
    def renews(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(sorted(self.bound, key=str)))
        address = self.live(client)
        reply = self.give(client, REQUEST, ciaddr=self.bound[client][0])
        assert reply is not None and reply.kind in (ACK, NAK)
        assert address is None or (reply.kind, reply.address) == (ACK, address)

    @precondition(lambda self: self.bound)
    @rule(data=st.data(), kind=st.sampled_from((RELEASE, DECLINE)))
    def gives_back(self, data: st.DataObject, kind: int) -> None:
        client = data.draw(st.sampled_from(sorted(self.bound, key=str)))
        if address := self.live(client):
            declined = [(50, address)] if kind == DECLINE else []
            assert self.give(client, kind, declined, ciaddr=bytes(4) if declined else address) is None
            self.lost(client[0], address)

    @rule(client=clients, address=addresses, kind=st.sampled_from((RELEASE, DECLINE)))
    def gives_back_what_may_be_anothers(self, client: Who, address: bytes, kind: int) -> None:
        before = self.bench.pool.holder(address)
        self.give(client, kind, [(50, address)], ciaddr=address)
        if self.bench.pool.holder(address) != before and address in self.granted:
            card, until = self.granted[address]
            assert card == client[0] or until <= self.now
            self.lost(card, address)

    @rule(card=st.sampled_from(CARDS))
    def asks_by_bootp(self, card: bytes) -> None:
        self.give((card, None), None)

    @rule(address=st.sampled_from(FREE))
    def a_static_host_comes(self, address: bytes) -> None:
        _, until = self.granted.get(address, (b"", -math.inf))
        if until + GRACE < self.now:
            self.bench.used[address] = "a static host"

    @precondition(lambda self: self.bench.used)
    @rule()
    def a_static_host_goes(self) -> None:
        self.bench.used.popitem()

    @rule(seconds=st.sampled_from((1, 30, HOLD + 1, ASIDE + 1, 3600, LEASE + 1)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def who_has_a_lease_has_it_in_the_pool(self) -> None:
        for address, (_, until) in self.granted.items():
            assert until <= self.now or self.bench.pool.holder(address) is not None

    @invariant()
    def nobody_has_the_gateways(self) -> None:
        assert not any(self.bench.pool.holder(address) for address in TAKEN)


Several.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSeveral = Several.TestCase
