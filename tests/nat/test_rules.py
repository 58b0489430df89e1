"""nat.rules: forbidden destinations, one by one, and that only the rest is asked of the host."""

from ipaddress import IPv4Address, IPv4Network
from socket import inet_aton

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nat.rules import Policy
from tests.support.fakes import GATEWAY, Bench, FakeHost

FORBIDDEN = {
    "127.0.0.1": "policy.loopback", "127.0.0.53": "policy.loopback", "127.255.255.255": "policy.loopback",
    "0.0.0.0": "policy.this_network", "0.0.0.1": "policy.this_network", "0.255.255.255": "policy.this_network",
    "169.254.0.1": "policy.link_local", "169.254.255.255": "policy.link_local",
    "169.254.169.254": "policy.metadata", "168.63.129.16": "policy.metadata",
    "100.100.100.200": "policy.metadata",
    "224.0.0.1": "policy.multicast", "239.255.255.250": "policy.multicast", "224.0.0.251": "policy.multicast",
    "240.0.0.1": "policy.reserved", "255.255.255.254": "policy.reserved",
    "255.255.255.255": "policy.broadcast", "10.0.2.255": "policy.broadcast",
    "10.0.2.0": "policy.network", "10.0.2.77": "policy.network", "10.0.2.2": "policy.gateway",
    "198.51.100.1": "policy.host_address",
}  # fmt: skip
PRIVATE = ("10.1.2.3", "10.0.3.0", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255",
           "192.0.0.8", "198.18.0.1", "198.19.255.255", "192.0.2.4", "198.51.100.8", "203.0.113.9")  # fmt: skip
PUBLIC = ("1.1.1.1", "8.8.8.8", "126.255.255.255", "128.0.0.1", "169.253.255.255", "169.255.0.0", "172.15.255.255",
          "172.32.0.0", "192.167.255.255", "223.255.255.255", "168.63.129.15", "100.63.255.255",
          "100.128.0.0", "198.17.255.255", "198.20.0.0", "11.0.0.0", "9.255.255.255")  # fmt: skip


@pytest.fixture(params=(False, True), ids=("", "internet_only"))
def bench(request: pytest.FixtureRequest) -> Bench:
    one = Bench(internet_only=request.param)
    one.host.owned.add(inet_aton("198.51.100.1"))
    return one


@pytest.mark.parametrize(("address", "counter"), FORBIDDEN.items())
def test_forbidden_by_default(address: str, counter: str) -> None:
    bench = Bench()
    bench.host.owned.add(inet_aton("198.51.100.1"))
    denial = bench.context.policy.judge(inet_aton(address))
    assert denial is not None and denial.counter == counter
    assert denial.words.startswith(f"{address} is ")
    assert denial.silent == (counter in ("policy.multicast", "policy.broadcast"))


@pytest.mark.parametrize("address", FORBIDDEN)
def test_forbidden_with_internet_only_too(address: str) -> None:
    bench = Bench(internet_only=True)
    bench.host.owned.add(inet_aton("198.51.100.1"))
    assert bench.context.policy.judge(inet_aton(address)) is not None


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_only_without_internet_only(address: str) -> None:
    assert Bench().context.policy.judge(inet_aton(address)) is None
    denial = Bench(internet_only=True).context.policy.judge(inet_aton(address))
    assert denial is not None and "--internet-only" in denial.option


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_always(bench: Bench, address: str) -> None:
    assert bench.context.policy.judge(inet_aton(address)) is None


def test_host_loopback_maps_the_gateway_both_ways_and_nothing_else() -> None:
    policy = Bench(host_loopback=True).context.policy
    assert policy.judge(GATEWAY) is None
    assert policy.host_address(GATEWAY) == inet_aton("127.0.0.1")
    assert policy.guest_address(inet_aton("127.0.0.1")) == GATEWAY
    assert policy.judge(inet_aton("127.0.0.1")) is not None
    assert policy.judge(inet_aton("10.0.2.77")) is not None
    assert policy.host_address(inet_aton("1.1.1.1")) == inet_aton("1.1.1.1")
    without = Bench().context.policy
    assert without.host_address(GATEWAY) == GATEWAY


def test_the_words_name_the_option() -> None:
    policy = Bench().context.policy
    denial = policy.judge(inet_aton("127.0.0.1"))
    assert denial is not None
    assert policy.denied(denial, "TCP to 127.0.0.1 port 80 from 10.0.2.15") == (
        "Denied TCP to 127.0.0.1 port 80 from 10.0.2.15: 127.0.0.1 is the host's own loopback."
        " To allow it: --host-loopback, and 10.0.2.2 in its place."
    )
    multicast = policy.judge(inet_aton("224.0.0.1"))
    assert multicast is not None
    assert policy.denied(multicast, "UDP") == "Denied UDP: 224.0.0.1 is a multicast address."


def test_the_host_is_only_asked_about_what_the_table_lets_through() -> None:
    bench = Bench()
    for address in FORBIDDEN:
        if address != "198.51.100.1":
            bench.context.policy.judge(inet_aton(address))
    assert bench.host.probes == 0
    bench.context.policy.judge(inet_aton("1.1.1.1"))
    assert bench.host.probes == 1


def test_anything_but_ipv4_is_denied() -> None:
    policy = Bench().context.policy
    for address in (b"", bytes(15) + b"\1", b"\xfd" + bytes(15)):
        denial = policy.judge(address)
        assert denial is not None and denial.counter == "policy.family"


NETWORKS = [IPv4Network(text) for text in (
    "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "192.168.16.0/24",
    "168.63.129.16/32", "100.100.100.200/32",
)]  # fmt: skip
edges = [int(end) + step for net in NETWORKS for end in (net[0], net[-1]) for step in (-1, 0, 1)]


@settings(deadline=None)
@given(st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([edge for edge in edges if 0 <= edge < 1 << 32])))
def test_against_plain_containment(number: int) -> None:
    """On another network, the one of 192.168.16.0/24."""
    policy = Policy(FakeHost(), (inet_aton("192.168.16.0"), 24), inet_aton("192.168.16.2"))
    address = IPv4Address(number)
    assert (policy.judge(address.packed) is not None) == any(address in net for net in NETWORKS)
