"""Under which key a client's lease is kept."""

from hypothesis import given
from hypothesis import strategies as st

from pppgate.dhcp.clients import CLAIM, IDS_MOST, IDS_PER_MAC, Clients
from pppgate.ether.frame import mac_key

MAC = bytes.fromhex("525400123456")
OTHER = bytes.fromhex("525400abcdef")
ID = b"\x00somebody"


def test_by_the_card_without_an_identifier_or_with_one_that_says_no_more() -> None:
    clients = Clients()
    for client_id in (None, b"", b"\x01", b"\x01" + MAC, b"x" * 256):
        assert clients.key(MAC, client_id, 0.0) == mac_key(MAC) == "ether 52:54:00:12:34:56"
    assert len(clients) == 0


def test_by_the_identifier_of_whoever_said_it_first() -> None:
    clients = Clients()
    key = clients.key(MAC, ID, 0.0)
    assert key == f"ether {ID.hex()}"
    assert clients.key(OTHER, ID, 1.0) == mac_key(OTHER)
    assert clients.key(MAC, ID, 2.0) == key


def test_what_is_another_cards_address_is_an_identifier_like_any_other() -> None:
    """Or one guest would get what another leased by its card."""
    assert Clients().key(MAC, b"\x01" + OTHER, 0.0) != mac_key(OTHER)


def test_a_claim_ends_and_a_lease_goes_on() -> None:
    clients = Clients()
    clients.key(MAC, ID, 0.0)
    assert clients.key(OTHER, ID, CLAIM + 1) == f"ether {ID.hex()}"
    clients.bound(OTHER, ID, 5000.0)
    assert clients.key(MAC, ID, 4999.0 + CLAIM) == mac_key(MAC)
    assert clients.key(MAC, ID, 5001.0 + CLAIM) == f"ether {ID.hex()}"


def test_given_back_it_may_come_from_another_card() -> None:
    clients = Clients()
    clients.key(MAC, ID, 0.0)
    clients.bound(MAC, ID, 5000.0)
    clients.released(OTHER, ID)
    assert clients.key(OTHER, ID, 1.0) == mac_key(OTHER)
    clients.released(MAC, ID)
    assert clients.key(OTHER, ID, 1.0) == f"ether {ID.hex()}"
    clients.released(OTHER, None)
    clients.bound(OTHER, None, 9.0)


def test_one_card_has_few_and_all_have_a_bounded_number() -> None:
    clients = Clients()
    keys = {clients.key(MAC, number.to_bytes(3, "big"), 0.0) for number in range(100)}
    assert len(keys) == IDS_PER_MAC + 1 and mac_key(MAC) in keys
    for number in range(5000):
        mac = b"\x02\0" + number.to_bytes(4, "big")
        clients.key(mac, b"\0" + mac, 0.0)
    assert len(clients) == IDS_MOST
    assert clients.key(OTHER, ID, CLAIM + 1) == f"ether {ID.hex()}" and len(clients) == 1


moves = st.lists(
    st.tuples(st.sampled_from(("ask", "bind", "release")), st.integers(0, 3), st.integers(0, 5), st.integers(0, 40))
)


@given(moves)
def test_two_cards_never_have_a_key_in_common_while_a_lease_lives(steps: list[tuple[str, int, int, int]]) -> None:
    clients = Clients()
    now = 0.0
    live: dict[str, tuple[int, float]] = {}  # key -> card, until
    for what, card, name, wait in steps:
        now += wait
        mac, client_id = bytes((2, 0, 0, 0, 0, card)), b"\0" + bytes((name,))
        key = clients.key(mac, client_id, now)
        owner, until = live.get(key, (card, 0.0))
        assert owner == card or until <= now
        if key == mac_key(mac):
            continue
        if what == "bind":
            clients.bound(mac, client_id, now + 100)
            live[key] = (card, now + 100)
        elif what == "release":
            clients.released(mac, client_id)
            live.pop(key, None)
