"""nat.rules: forbidden destinations, one by one, and that only the rest is asked of the host."""

from ipaddress import IPv4Address, IPv4Network
from socket import inet_aton

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nat.rules import (
    ANY,
    Action,
    Asked,
    Direction,
    PppRules,
    Question,
    Rules,
    Verdict,
    deny,
    describe,
    sentence,
)
from tests.support.fakes import DNS, GATEWAY, GUEST, Bench, FakeHost


def question(
    address: bytes, port: int = 80, protocol: int = 6, direction: Direction = Direction.OUT, guest: bytes = GUEST
) -> Question:
    return Question(guest, "", direction, protocol, address, port)


def judge(rules: Rules, address: bytes) -> Verdict | None:
    """Why a connection is denied; None: it is not."""
    verdict = rules.decide(question(address))
    return None if verdict.action is Action.ALLOW else verdict


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
    denial = judge(bench.context.rules, inet_aton(address))
    assert denial is not None and denial.counter == counter
    assert denial.words.startswith(f"{address} is ")
    assert (denial.action is Action.DROP) == (counter in ("policy.multicast", "policy.broadcast"))


@pytest.mark.parametrize("address", FORBIDDEN)
def test_forbidden_with_internet_only_too(address: str) -> None:
    bench = Bench(internet_only=True)
    bench.host.owned.add(inet_aton("198.51.100.1"))
    assert judge(bench.context.rules, inet_aton(address)) is not None


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_only_without_internet_only(address: str) -> None:
    assert judge(Bench().context.rules, inet_aton(address)) is None
    denial = judge(Bench(internet_only=True).context.rules, inet_aton(address))
    assert denial is not None and "--internet-only" in denial.option


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_always(bench: Bench, address: str) -> None:
    assert judge(bench.context.rules, inet_aton(address)) is None


def test_host_loopback_maps_the_gateway_both_ways_and_nothing_else() -> None:
    rules = Bench(host_loopback=True).context.rules
    assert judge(rules, GATEWAY) is None
    assert rules.decide(question(GATEWAY)).address == inet_aton("127.0.0.1")
    assert rules.guest_address(inet_aton("127.0.0.1")) == GATEWAY
    assert judge(rules, inet_aton("127.0.0.1")) is not None
    assert judge(rules, inet_aton("10.0.2.77")) is not None
    assert rules.decide(question(inet_aton("1.1.1.1"))).address == inet_aton("1.1.1.1")
    without = Bench().context.rules
    assert judge(without, GATEWAY) is not None


def test_the_words_name_the_option() -> None:
    rules = Bench().context.rules
    denial = judge(rules, inet_aton("127.0.0.1"))
    assert denial is not None
    assert sentence(question(inet_aton("127.0.0.1")), denial) == (
        "Denied TCP to 127.0.0.1 port 80 from 10.0.2.15: 127.0.0.1 is the host's own loopback."
        " To allow it: --host-loopback, and 10.0.2.2 in its place."
    )
    multicast = judge(rules, inet_aton("224.0.0.1"))
    assert multicast is not None
    assert sentence(question(inet_aton("224.0.0.1")), multicast) == (
        "Denied TCP to 224.0.0.1 port 80 from 10.0.2.15: 224.0.0.1 is a multicast address."
    )


def test_the_host_is_only_asked_about_what_the_table_lets_through() -> None:
    bench = Bench()
    for address in FORBIDDEN:
        if address != "198.51.100.1":
            judge(bench.context.rules, inet_aton(address))
    assert bench.host.probes == 0
    judge(bench.context.rules, inet_aton("1.1.1.1"))
    assert bench.host.probes == 1


def test_anything_but_ipv4_is_denied() -> None:
    rules = Bench().context.rules
    for address in (b"", bytes(15) + b"\1", b"\xfd" + bytes(15)):
        denial = judge(rules, address)
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
    rules = Rules(FakeHost(), (inet_aton("192.168.16.0"), 24), inet_aton("192.168.16.2"))
    address = IPv4Address(number)
    assert (judge(rules, address.packed) is not None) == any(address in net for net in NETWORKS)


def test_a_verdict_names_its_rule_and_what_the_host_is_to_call() -> None:
    rules = Bench(host_loopback=True).context.rules
    outside = inet_aton("1.1.1.1")
    assert rules.decide(question(outside)) == Verdict(Action.ALLOW, outside, "outside")
    assert rules.decide(question(GATEWAY)) == Verdict(Action.ALLOW, inet_aton("127.0.0.1"), "host_loopback")
    assert rules.decide(question(inet_aton("169.254.169.254"))).rule == "metadata"


@pytest.mark.parametrize(
    ("protocol", "port", "rule"), ((17, 53, "dns"), (6, 53, "dns"), (1, 0, "network"), (17, 54, "network"))
)
def test_the_relay_is_reached_at_its_port_only(protocol: int, port: int, rule: str) -> None:
    assert Bench(dns=DNS).context.rules.decide(question(DNS, port, protocol)).rule == rule


def test_guests_speak_to_each_other_and_callers_come_in() -> None:
    rules = Bench(internet_only=True).context.rules
    for direction in (Direction.ACROSS, Direction.IN):
        assert rules.decide(question(inet_aton("127.0.0.1"), direction=direction)).action is Action.ALLOW


def test_without_an_uplink_guests_are_among_themselves() -> None:
    host = FakeHost()
    rules = Rules(host, (b"\x0a\0\2\0", 24), GATEWAY, dns=DNS, host_loopback=True, uplink=False)
    for address, port in (("9.9.9.9", 80), ("10.0.2.2", 80), ("10.0.2.3", 53), ("127.0.0.1", 80)):
        asked = question(inet_aton(address), port)
        verdict = rules.decide(asked)
        assert (verdict.action, verdict.counter) == (Action.REFUSE, "policy.no_uplink")
        assert sentence(asked, verdict) == (
            f"Denied TCP to {address} port {port} from 10.0.2.15: the network has no uplink."
        )
    assert rules.decide(question(inet_aton("224.0.0.1"))).action is Action.DROP
    assert rules.decide(question(inet_aton("9.9.9.9"), direction=Direction.IN)).action is Action.REFUSE
    assert rules.decide(question(GATEWAY, direction=Direction.ACROSS)).action is Action.ALLOW
    assert host.probes == 0


@pytest.mark.parametrize("address", ("0.0.0.1", "127.0.0.1", "169.254.1.1", "224.0.0.1", "240.0.0.1"))
def test_what_no_router_passes_on_stays_on_the_segment(address: str) -> None:
    verdict = PppRules().decide(question(inet_aton(address)))
    assert (verdict.action, verdict.counter) == (Action.DROP, "bridge.stays")
    assert PppRules().decide(question(inet_aton(address), direction=Direction.IN)).action is Action.ALLOW


@pytest.mark.parametrize("address", ("10.0.0.1", "192.168.1.1", "9.9.9.9", "169.253.1.1", "223.255.255.255"))
def test_everything_else_goes_to_the_ppp_server(address: str) -> None:
    assert PppRules().decide(question(inet_aton(address))).action is Action.ALLOW


@pytest.mark.parametrize(
    ("asked", "words"),
    (
        (question(GATEWAY, 80), "TCP to 10.0.2.2 port 80 from 10.0.2.15"),
        (question(GATEWAY, 53, 17), "UDP to 10.0.2.2 port 53 from 10.0.2.15"),
        (question(GATEWAY, 0, 1), "ping of 10.0.2.2 from 10.0.2.15"),
        (question(GATEWAY, 0, 47), "protocol 47 to 10.0.2.2 from 10.0.2.15"),
        (question(GATEWAY, 0, ANY, Direction.ACROSS), "IP to 10.0.2.2 from 10.0.2.15"),
        (question(GATEWAY, 0, 1, Direction.ACROSS), "ICMP to 10.0.2.2 from 10.0.2.15"),
        (question(bytes(15) + b"\1", 80, 6, Direction.IN), "TCP from ::1 to port 80 of 10.0.2.15"),
    ),
)
def test_a_question_in_words(asked: Question, words: str) -> None:
    assert describe(asked) == words


def test_denials_are_counted_and_said_unless_they_are_dropped() -> None:
    bench = Bench()
    for address in ("127.0.0.1", "224.0.0.1"):
        asked = question(inet_aton(address))
        deny(asked, bench.context.rules.decide(asked), bench.count, bench.notices.append)
    assert bench.count == {"policy.loopback": 1, "policy.multicast": 1} and len(bench.notices) == 1


def test_verdicts_are_remembered_until_the_rules_change_and_not_without_end() -> None:
    rules = Bench().context.rules
    asked = Asked(rules, most=2)
    assert asked.known(b"a") is None
    verdict = asked.ask(b"a", question(inet_aton("1.1.1.1")))
    assert asked.known(b"a") is verdict
    for key in (b"b", b"c"):
        asked.ask(key, question(inet_aton("1.1.1.1")))
    assert asked.known(b"a") is None and asked.known(b"c") is not None and len(asked) == 2
    rules.revision += 1
    assert asked.known(b"c") is None and len(asked) == 0


def test_an_answer_is_allowed_with_what_it_answers() -> None:
    rules = Bench().context.rules
    mine, others = Asked(rules), Asked(rules)
    assert mine.remembered(b"there", others, b"back") is None
    others.ask(b"back", question(inet_aton("127.0.0.1")))
    assert mine.remembered(b"there", others, b"back") is None  # a denial says nothing of the answer
    allowed = others.ask(b"back", question(inet_aton("1.1.1.1")))
    assert mine.remembered(b"there", others, b"back") is allowed
    denied = mine.ask(b"there", question(inet_aton("127.0.0.1")))
    assert mine.remembered(b"there", others, b"back") is denied
