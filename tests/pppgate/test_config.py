"""Config: defaults, merging, and one sentence for every mistake."""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pppgate.config import OF_PROGRAM, SETTINGS, CallConfig, Config, NetworkConfig, build, load
from pppgate.settings import ConfigError, Forward, parse_forward

NAMES = (*SETTINGS["nat"], *OF_PROGRAM)


def only(*sources: dict[str, object]) -> NetworkConfig:
    """The one network of a short form."""
    (network,) = build(*sources).networks
    return network


def test_the_defaults_are_those_that_guides_for_user_mode_networking_assume() -> None:
    assert build() == Config()
    config = only()
    assert [str(a) for a in (config.net, config.gateway, config.dns, config.guest)] == [
        "10.0.2.0/24",
        "10.0.2.2",
        "10.0.2.3",
        "10.0.2.15",
    ]
    assert config.links == ("pty:",)
    assert not config.host_loopback
    assert config.auth == "none"


def test_addresses_follow_the_network() -> None:
    config = only({"net": "192.168.16.0/24"})
    assert [str(a) for a in (config.gateway, config.dns, config.guest)] == [
        "192.168.16.2",
        "192.168.16.3",
        "192.168.16.15",
    ]


@pytest.mark.parametrize("given_first", [{}, {"gateway": "10.9.8.3"}, {"guest": "10.9.8.2"}, {"dns": "10.9.8.1"}])
@pytest.mark.parametrize("prefix", [24, 28, 29])
def test_small_networks_and_partly_given_addresses_have_room_for_three(
    prefix: int, given_first: dict[str, str]
) -> None:
    config = only({"net": f"10.9.8.0/{prefix}", **given_first})
    three = {config.gateway, config.dns, config.guest}
    assert len(three) == 3
    assert all(address in config.net for address in three)
    assert config.net.network_address not in three and config.net.broadcast_address not in three


def test_later_sources_win_and_none_is_not_given() -> None:
    config = only({"mru": 576, "net": "192.168.16.0/24"}, {"mru": None, "net": "10.1.0.0/16", "mtu": "296"})
    assert (config.mru, config.mtu, str(config.net)) == (576, 296, "10.1.0.0/16")


# -- forwards


@pytest.mark.parametrize(
    ("spec", "forward"),
    [
        ("tcp:8080=80", Forward("tcp", "127.0.0.1", 8080, None, 80)),
        ("udp:5353=53", Forward("udp", "127.0.0.1", 5353, None, 53)),
        ("tcp:0.0.0.0:2222=10.0.2.15:22", Forward("tcp", "0.0.0.0", 2222, IPv4Address("10.0.2.15"), 22)),
        ("tcp:[::1]:8080=80", Forward("tcp", "::1", 8080, None, 80)),
        ("udp:[::]:1=10.0.2.16:65535", Forward("udp", "::", 1, IPv4Address("10.0.2.16"), 65535)),
    ],
)
def test_forwards(spec: str, forward: Forward) -> None:
    assert parse_forward(spec) == forward
    assert parse_forward(str(forward)) == forward


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "8080=80",
        "sctp:1=2",
        "tcp:8080",
        "tcp:=80",
        "tcp:8080=",
        "tcp:0=80",
        "tcp:8080=65536",
        "tcp:::1:8080=80",
        "tcp:[::1:8080=80",
        "tcp:localhost:8080=80",
        "tcp:8080=guest:80",
        "tcp:8080=[::1]:80",
        "tcp:٣=80",
        "tcp:-1=80",
        "tcp:8080=80=80",
    ],
)
def test_bad_forwards_are_one_sentence(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"^The forward .*\.$"):
        parse_forward(spec)


@given(st.text(max_size=40))
def test_any_forward_is_read_or_refused(spec: str) -> None:
    try:
        forward = parse_forward(spec)
    except ConfigError as error:
        assert "\n" not in str(error).replace(spec, "")
    else:
        assert parse_forward(str(forward)) == forward


@given(
    st.sampled_from(["tcp", "udp"]),
    st.ip_addresses(),
    st.integers(1, 65535),
    st.none() | st.ip_addresses(v=4),
    st.integers(1, 65535),
)
def test_every_forward_survives_being_written_and_read(
    protocol: Literal["tcp", "udp"], bind: object, port: int, guest: IPv4Address | None, guest_port: int
) -> None:
    forward = Forward(protocol, str(bind), port, guest, guest_port)
    assert parse_forward(str(forward)) == forward


# -- mistakes


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"net": "10.0.2.0"}, "is too small"),
        ({"net": "10.0.2.1/24"}, "the network around it is 10.0.2.0/24"),
        ({"net": "10.0.2.0/30"}, "is too small"),
        ({"net": "fred"}, "is not an IPv4 network; write one such as"),
        ({"net": "fd00::/64"}, "is not an IPv4 network"),
        ({"net": "224.0.0.0/8"}, "is not a network for hosts"),
        ({"net": "127.0.0.0/24"}, "is not a network for hosts"),
        ({"net": 5}, "a text is needed"),
        ({"gateway": "10.0.3.2"}, "does not lie in the network"),
        ({"gateway": "10.0.2.0"}, "is the network or broadcast address"),
        ({"guest": "10.0.2.255"}, "is the network or broadcast address"),
        ({"gateway": "10.0.2.15", "guest": "10.0.2.15"}, "guest and gateway are both 10.0.2.15"),
        ({"dns": "10.0.2.999"}, "is not an IPv4 address"),
        ({"mru": 0}, "a whole number from 68 to"),
        ({"mru": "many"}, "a whole number from 68 to"),
        ({"mru": True}, "a whole number from 68 to"),
        ({"mtu": 1500.5}, "a whole number from 68 to"),
        ({"echo_interval": "soon"}, "a number of seconds"),
        ({"echo_interval": -1}, "a number of seconds"),
        ({"echo_interval": float("nan")}, "a number of seconds"),
        ({"host_loopback": "yes"}, "write true or false"),
        ({"auth": "/does/not/exist"}, "neither none, any, nor a file"),
        ({"log_level": "loud"}, "is not one of error, warning, info, debug"),
        ({"links": 5}, "write a list of links"),
        ({"links": ["tty:/dev/ttyS0", "tty:/dev/ttyS0"]}, "is named twice"),
        ({"links": ["pty:/tmp/a\0b"]}, "leave out the NUL character"),
        ({"forward": 80}, "write a list"),
        ({"forward": [80]}, "a text is needed"),
        ({"forward": ["tcp:1=10.0.3.1:1"]}, "does not lead to a guest's address"),
        ({"forward": ["tcp:1=10.0.2.2:1"]}, "does not lead to a guest's address"),
        ({"forward": ["tcp:1=1", "tcp:127.0.0.1:1=2"]}, "uses a port that another one uses"),
        ({"pcap": ""}, "a text is needed"),
        ({"domain": "two words"}, "domain: two words is not a domain name"),
        ({"domain": "a" * 64}, "is not a domain name"),
        ({"domain": "-a.org"}, "is not a domain name"),
        ({"search": 5}, "write a list of domains"),
        ({"search": ["a..b"]}, "search: a..b is not a domain name"),
        ({"search": ["a" * 60 + f"{n}.example.org" for n in range(5)]}, "give fewer"),
        ({"frward": []}, "did you mean forward"),
        ({"xyzzy": 1}, "there are links, uplink,"),
    ],
)
def test_mistakes_are_one_sentence(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(values)
    text = str(caught.value)
    assert words in text
    assert text.endswith((".", "?")) and "\n" not in text


def test_two_ptys_are_no_mistake() -> None:
    assert only({"links": ["pty:", "pty:"]}).links == ("pty:", "pty:")


@given(st.dictionaries(st.sampled_from(sorted(NAMES)), st.none() | st.booleans() | st.text() | st.integers()))
def test_any_values_give_a_config_or_a_config_error(values: dict[str, object]) -> None:
    try:
        config = only(values)
    except ConfigError:
        return
    assert isinstance(config.net, IPv4Network)
    assert len({config.gateway, config.dns, config.guest}) == 3


# -- the file


def test_a_file_with_every_setting(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text("fred * sesame *\n")
    path = tmp_path / "pppgate.toml"
    path.write_text(
        f"""
        links = ["pty:/tmp/com1", "tcp-listen:4000"]
        uplink = "nat"
        net = "192.168.16.0/24"
        gateway = "192.168.16.1"
        dns = "192.168.16.4"
        guest = "192.168.16.9"
        resolver = ["9.9.9.9", "[::1]:5353"]
        host-loopback = true
        internet_only = true
        auth = "{secrets}"
        domain = "example.org."
        search = ["example.org", "lab.example.org"]
        mru = 296
        mtu = 576
        echo-interval = 5.5
        tcp-idle = 600
        keepalive = 60
        forward = ["tcp:8080=80", "udp:[::1]:69=192.168.16.9:69"]
        pcap = "/tmp/x.pcap"
        log-level = "debug"
        verbose = 1
        """
    )
    config = only(load(str(path)))
    assert set(load(str(path))) == set(NAMES)
    assert config.links == ("pty:/tmp/com1", "tcp-listen:4000")
    assert (config.gateway, config.echo_interval) == (IPv4Address("192.168.16.1"), 5.5)
    assert config.host_loopback and config.internet_only
    assert (config.domain, config.search) == ("example.org", ("example.org", "lab.example.org"))
    assert [str(forward) for forward in config.forward] == [
        "tcp:127.0.0.1:8080=80",
        "udp:[::1]:69=192.168.16.9:69",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("netz = 1", "no setting 'netz' (did you mean net?)"),
        ("host-lopback = true", "(did you mean host-loopback?)"),
        ("net = ", "is not valid TOML"),
        ("[ppp]\nmru = 5", "no setting 'ppp'"),
    ],
)
def test_mistakes_in_the_file_name_it(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        build(load(str(path)))
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(str(tmp_path))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not valid TOML"):
        load(str(tmp_path / "binary"))
    (tmp_path / "huge").write_bytes(b"#" * (1 << 21))
    with pytest.raises(ConfigError, match="is larger than"):
        load(str(tmp_path / "huge"))


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("9.9.9.9", "9.9.9.9", 53),
        ("127.0.0.1:5353", "127.0.0.1", 5353),
        ("2620:fe::fe", "2620:fe::fe", 53),
        ("[2620:fe::fe]:54", "2620:fe::fe", 54),
        ("[::1]", "::1", 53),
    ],
)
def test_resolvers(text: str, address: str, port: int) -> None:
    (resolver,) = only({"resolver": [text]}).resolver
    assert (resolver.address, resolver.port) == (address, port)


@pytest.mark.parametrize("text", ["dns.example", "1.2.3.4:0", "1.2.3.4:x", "[::1]:70000", "", "1.2.3.4:5:6"])
def test_bad_resolvers(text: str) -> None:
    with pytest.raises(ConfigError):
        build({"resolver": [text]})


# -- several networks


def written(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "pppgate.toml"
    path.write_text(text)
    return build(load(str(path)))


def test_tables_make_networks(tmp_path: Path) -> None:
    config = written(
        tmp_path,
        """
        verbose = 1
        [network.lab]
        links = ["pty:/tmp/a"]
        net = "10.1.0.0/24"
        [network.alone]
        links = ["pty:/tmp/b"]
        uplink = "none"
        net = "10.2.0.0/24"
        [network.isp]
        uplink = "ppp"
        links = ["ether:bochs:40000"]
        ppp = "serial:/dev/ttyUSB0@57600"
        dns = ["9.9.9.9"]
        demand = true
        idle = 300
        """,
    )
    lab, alone, isp = config.networks
    assert config.verbose == 1
    assert (lab.name, lab.uplink, str(lab.gateway)) == ("lab", "nat", "10.1.0.2")
    assert (alone.name, alone.uplink, alone.links) == ("alone", "none", ("pty:/tmp/b",))
    assert isp.call == CallConfig("serial:/dev/ttyUSB0@57600", dns=(b"\x09\x09\x09\x09",), demand=True, idle=300.0)
    assert isp.echo_interval == 10.0


def test_the_short_form_stands_beside_tables_only_if_it_says_something_of_a_network(tmp_path: Path) -> None:
    table = '[network.lab]\nnet = "10.1.0.0/24"\n'
    assert [each.name for each in written(tmp_path, "verbose = 1\n" + table).networks] == ["lab"]
    assert [each.name for each in written(tmp_path, 'net = "10.3.0.0/24"\n' + table).networks] == ["default", "lab"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("network = 5", "network is a table of networks"),
        ("[network]\nlab = 5", "network is a table of networks"),
        ("[network.lab]\nlinsk = []", "network lab: there is no setting 'linsk' (did you mean links?)"),
        ("[network.lab]\nverbose = 1", "network lab: verbose is of the whole program; set it at the top"),
        ("[network.lab]\nmru = 5", "network lab: mru: a whole number from 68"),
        ('[network."a b"]\nmru = 500', "'a b' is no name for a network"),
        ("uplink = []", "uplink: [] is not one of nat, none, ppp"),
        ("[network.lab]\nuplink = {a = 1}", "is not one of nat, none, ppp"),
        ("a = " + "[" * 100_000, "is not valid TOML: it is nested too deep"),
        ("mru = 0x1" + "0" * 5000, "a whole number from 68 to 9000 is needed, not a number of so many digits"),
        ("echo-interval = 1" + "0" * 400, "a number of seconds from 0 (never) to 86400 is needed, not a number of so"),
        ("mru = " + "9" * 5000, "is not valid TOML"),
        ('[network.lab]\nuplink = "tap"', "network lab: uplink: tap is not one of nat, none, ppp"),
        ('[network.lab]\nuplink = "none"\nforward = ["tcp:1=1"]', "network lab: there is no setting 'forward'"),
        ('[network.lab]\nuplink = "ppp"\nlinks = ["ether:bochs:1"]', "network lab: ppp: name the line to the PPP"),
        ('[network.lab]\nuplink = "ppp"\nppp = "pty:"', "network lab: links: name the cables"),
        ('[network.a]\n[network.b]\nlinks = ["pty:/tmp/b"]', "network b: its addresses 10.0.2.0/24 overlap those of"),
        (
            '[network.a]\nlinks = ["tty:/dev/x"]\n[network.b]\nlinks = ["tty:/dev/x"]\nnet = "10.9.0.0/24"',
            "The link tty:/dev/x is named twice",
        ),
        (
            '[network.a]\nforward = ["tcp:1=1"]\n[network.b]\nforward = ["tcp:1=2"]\nnet = "10.9.0.0/24"',
            "uses a port that another one uses",
        ),
        ('net = "10.8.0.0/24"\n[network.default]\nnet = "10.9.0.0/24"', "there is a table of that name too"),
        ("\n".join(f'[network.n{n}]\nnet = "10.{n}.0.0/24"' for n in range(65)), "serves 64 at the most"),
    ],
)
def test_mistakes_in_networks_are_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        written(tmp_path, text)
    assert words in str(caught.value)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
