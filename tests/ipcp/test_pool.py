"""Addresses lent to guests."""

from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from ipcp.pool import PAST_MOST, Pool

NET = IPv4Network("10.0.2.0/24")


def ip(last: int) -> bytes:
    return bytes((10, 0, 2, last))


def pool() -> Pool:
    return Pool(NET, [ip(2), ip(3)], ip(15))


def test_first_guest_then_upwards() -> None:
    p = pool()
    assert [p.lease(key) for key in "abc"] == [ip(15), ip(16), ip(17)]
    assert p.holder(ip(16)) == "b" and p.holder(ip(99)) is None


def test_the_same_again_while_held_and_when_it_redials() -> None:
    p = pool()
    assert p.lease("a") == p.lease("a") == ip(15)
    p.release("a")
    assert p.lease("b") == ip(16)  # not a's, while there are others
    assert p.lease("a") == ip(15)


def test_a_wish_in_the_network_and_free_is_granted() -> None:
    p = pool()
    assert p.lease("a", ip(99)) == ip(99)
    assert p.lease("a") == ip(99)
    assert p.lease("b", ip(99)) == ip(15)
    assert p.holder(ip(99)) == "a"


def test_a_wish_that_cannot_be_granted_is_as_none() -> None:
    for wish in (ip(0), ip(2), ip(3), ip(255), bytes(4), b"\xc0\xa8\x00\x01", b"", b"12345"):
        assert pool().lease("a", wish) == ip(15), wish


def test_a_new_wish_gives_the_old_address_back() -> None:
    p = pool()
    p.lease("a")
    assert p.lease("a", ip(77)) == ip(77)
    assert p.lease("b") == ip(15)


def test_a_full_network_takes_from_those_who_left_longest_ago_and_then_has_none() -> None:
    p = Pool(IPv4Network("10.0.2.0/29"), [ip(1)], ip(2))
    assert [p.lease(str(i)) for i in range(6)] == [ip(2), ip(3), ip(4), ip(5), ip(6), None]
    p.release("3")
    p.release("1")
    assert p.lease("new") == ip(5)
    assert p.lease("1") == ip(3) and p.lease("3") is None


def test_two_address_networks() -> None:
    p = Pool(IPv4Network("10.0.2.0/31"), [ip(0)], ip(1))
    assert p.lease("a") == ip(1) and p.lease("b") is None


steps = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([None, "release", *range(0, 9)])), max_size=60)


@given(steps)
def test_nobody_shares_and_nothing_reserved_is_lent(actions: list[tuple[str, str | int | None]]) -> None:
    net = IPv4Network("10.0.2.0/29")
    p = Pool(net, [ip(2)], ip(3))
    held: dict[str, bytes] = {}
    for key, what in actions:
        if what == "release":
            p.release(key)
            held.pop(key, None)
            continue
        address = p.lease(key, ip(what) if isinstance(what, int) else None)
        if address is None:
            assert len(held) == 5 and key not in held
            continue
        held[key] = address
        assert IPv4Address(address) in net and address not in (ip(0), ip(2), ip(7))
        assert len(set(held.values())) == len(held)
        assert p.holder(address) == key


def test_what_is_remembered_of_the_past_is_bounded() -> None:
    pool = Pool(IPv4Network("10.0.0.0/8"), (), IPv4Address("10.0.0.15").packed)
    first = pool.lease("0")
    for number in range(PAST_MOST + 10):
        pool.lease(str(number))
        pool.release(str(number))
    assert len(pool._past) == PAST_MOST
    assert pool.lease("again", first) == first
