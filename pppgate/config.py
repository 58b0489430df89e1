"""The tree of all settings: one Config for the program, in it one NetworkConfig for each network of guests.

In: what the user wrote, as plain values by name, from the command line and a TOML file.  Out: one frozen Config, or a
ConfigError whose text is one plain sentence that says what to do.  It opens no device and no socket.

Settings that stand at the top of the file, and those of the command line, are the short form for one network, called
DEFAULT; tables `[network.NAME]` make further ones:

    log-level = "info"                  # of the program

    [network.lab]
    links = ["pty:/tmp/com1"]
    net = "10.1.0.0/24"

    [network.isp]
    uplink = "ppp"                      # a call to a PPP server, for guests with a card
    links = ["ether:unix-listen:/tmp/eth0"]
    ppp = "serial:/dev/ttyUSB0@115200"

Which settings a network takes depends on its uplink; SETTINGS is the list.
"""

import os
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any, Final, Literal

from lcp.config import Credentials
from pppgate import settings
from pppgate.settings import ConfigError, Forward, Resolver

if TYPE_CHECKING:
    from pppgate.eoppp.chat import Step

__all__ = ["CallConfig", "Config", "ConfigError", "NetworkConfig", "build", "load"]

UplinkKind = Literal["nat", "none", "ppp"]

DEFAULT: Final = "default"
"""The name of the network that the short form describes."""
NETWORKS_MOST: Final = 64
FILE_MOST: Final = 1 << 20
"""Octets of a configuration file."""
SECRET_MOST: Final = 255
"""Octets of a name or password (RFC 1334 section 2.2.1)."""
NAME_SERVERS_MOST: Final = 3
"""Name servers that DHCP tells a guest, where they are not the PPP server's."""
CALLER_MRU_LEAST: Final = 128
CALLER_MTU_MOST: Final = 1500
"""Octets: what an Ethernet guest takes."""

OF_PROGRAM: Final = ("pcap", "log_level", "verbose")
_OF_ALL: Final = ("links", "uplink", "domain", "search", "mru", "mtu", "echo_interval")
_OF_ROUTER: Final = ("net", "gateway", "dns", "guest", "auth")
_OF_NAT: Final = ("resolver", "host_loopback", "internet_only", "tcp_idle", "keepalive", "forward")
_OF_CALL: Final = (
    "ppp", "chat", "user", "password_file", "address", "dns", "lease", "demand", "idle", "persist", "tries",
)  # fmt: skip
SETTINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "nat": (*_OF_ALL, *_OF_ROUTER, *_OF_NAT),
    "none": (*_OF_ALL, *_OF_ROUTER),
    "ppp": (*_OF_ALL, *_OF_CALL),
}
"""What can be set for a network, by its uplink."""


@dataclass(frozen=True)
class CallConfig:
    """How a network whose uplink is a PPP server calls it."""

    ppp: str
    """The serial line to the server, a link of serialport.url."""
    chat: tuple["Step", ...] = ()
    """What is said on the line before PPP begins; empty: nothing."""
    credentials: Credentials | None = None
    """What is shown to a server that asks who calls."""
    address: bytes = bytes(4)
    """The address to ask for, 4 octets; 0.0.0.0: any."""
    dns: tuple[bytes, ...] = ()
    """What the guest is told instead of the server's name servers, 4 octets each."""
    lease: float = 60.0
    """Seconds of the guest's DHCP lease; it learns of another address after half of them."""
    demand: bool = False
    """Call only when the guest sends something or asks for an address."""
    idle: float = 0.0
    """Seconds without a packet after which the call is ended; 0 for never."""
    persist: bool = True
    """Call again when the link ends or does not come up."""
    tries: int = 0
    """Failures in a row after which no more is tried; 0 for never."""


@dataclass(frozen=True)
class NetworkConfig:
    """One network of guests.  The names are those of the options and keys, where `-` and `_` are the same."""

    name: str = DEFAULT
    links: tuple[str, ...] = ("pty:",)
    """Where guests come from: pty:[SYMLINK], tty:PATH, ether:..., ... (pppgate.links.open_links)."""
    uplink: UplinkKind = "nat"
    """ "nat": sockets of the host; "none": guests among themselves; "ppp": a call to a PPP server."""
    net: IPv4Network = IPv4Network("10.0.2.0/24")
    """The network of the guests."""
    gateway: IPv4Address = IPv4Address("10.0.2.2")
    """Our own address in it, and the alias of the host's loopback with `host_loopback`."""
    dns: IPv4Address = IPv4Address("10.0.2.3")
    """The address where the DNS relay answers; guests are told of it."""
    guest: IPv4Address = IPv4Address("10.0.2.15")
    """The first address that a guest gets; the next guests get the following ones."""
    resolver: tuple[Resolver, ...] = ()
    """Resolvers that the DNS relay asks; empty: those of the host's /etc/resolv.conf."""
    host_loopback: bool = False
    """Lead connections to the gateway's address to 127.0.0.1 of the host."""
    internet_only: bool = False
    """Deny private addresses (the host's own networks) too."""
    auth: str = "none"
    """ "none"; "any" (ask for a name and password and take all); or a file in the form of pap-secrets."""
    domain: str = ""
    """The domain that DHCP tells Ethernet guests; empty: none."""
    search: tuple[str, ...] = ()
    """Domains in which they are told to look for short names."""
    mru: int = 1500
    """Octets: the largest packet that we are ready to receive in PPP, announced in LCP."""
    mtu: int = 1500
    """Octets: the largest packet that we send in PPP, if the peer's own MRU is not smaller."""
    echo_interval: float = 30.0
    """Seconds between LCP echoes on a silent link; 0 for none."""
    tcp_idle: float = 7440.0
    """Seconds after which an idle TCP connection ends; at least 240 (RFC 5382)."""
    keepalive: float = 0.0
    """Seconds of silence after which a guest is asked whether it still knows a TCP connection; 0 for never."""
    forward: tuple[Forward, ...] = ()
    """Ports of the host that lead to a guest."""
    call: CallConfig | None = None
    """How the server is called, where `uplink` is "ppp"."""


@dataclass(frozen=True)
class Config:
    """Everything that one process serves."""

    networks: tuple[NetworkConfig, ...] = (NetworkConfig(),)
    pcap: str | None = None
    """File for a capture of every frame, PPP and Ethernet, for Wireshark."""
    log_level: str = "info"
    """One of LOG_LEVELS: the least important lines that are shown."""
    verbose: int = 0
    """1: every control packet in words; 2: more."""


# The file


def load(path: str) -> dict[str, Any]:
    """The values in a TOML file, by name, not checked yet but for the names; `network` holds the tables of the
    networks, by their names.  Raises ConfigError."""
    path = os.path.expanduser(path)
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_MOST + 1)
    except OSError as error:
        raise ConfigError(f"The configuration file {path} cannot be read: {error.strerror}.") from None
    if len(data) > FILE_MOST:
        raise ConfigError(f"The configuration file {path} is larger than {FILE_MOST} octets.")
    try:
        table = tomllib.loads(data.decode("utf-8"))
    except RecursionError:
        raise ConfigError(f"The configuration file {path} is not valid TOML: it is nested too deep.") from None
    except ValueError as error:  # of the text, of its octets, or of a number of thousands of digits
        raise ConfigError(f"The configuration file {path} is not valid TOML: {error}.") from None
    networks = table.pop("network", {})
    if not isinstance(networks, dict) or not all(isinstance(each, dict) for each in networks.values()):
        raise ConfigError(f"{path}: network is a table of networks; write [network.NAME] above the settings of each.")
    values = _spelled(table, path)
    if networks:
        values["network"] = {name: _spelled(each, f"{path}, network {name}") for name, each in networks.items()}
    return values


def _spelled(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    values = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in _known(table):
            raise ConfigError(f"{where}: there is no setting {key!r}{settings.suggestion(name, _known(table))}.")
        values[name] = value
    return values


def _known(given: Mapping[str, Any]) -> tuple[str, ...]:
    """The names that make sense beside the `uplink` that is given, those of the program among them."""
    return (*SETTINGS.get(str(given.get("uplink", "nat")), SETTINGS["nat"]), *OF_PROGRAM)


# The tree


def build(*sources: Mapping[str, Any], warn: Callable[[str], None] = lambda sentence: None) -> Config:
    """A Config from sources in order, later ones winning.  Missing keys and None mean not given.

    `warn` takes a sentence about what is not wrong, but not good either.  Raises ConfigError.
    """
    merged: dict[str, Any] = {}
    for source in sources:
        merged.update({name: value for name, value in source.items() if value is not None})
    tables: Mapping[str, Mapping[str, Any]] = merged.pop("network", {})
    known = _known(merged)
    for name in merged:
        if name not in known:
            raise ConfigError(f"There is no setting {name!r}{settings.suggestion(name, known)}.")
    program: dict[str, Any] = {}
    if "verbose" in merged:
        program["verbose"] = settings.integer("verbose", merged.pop("verbose"), 0, 9)
    if "pcap" in merged:
        program["pcap"] = os.path.expanduser(settings.nonempty("pcap", merged.pop("pcap")))
    if "log_level" in merged:
        program["log_level"] = settings.log_level(merged.pop("log_level"))
    networks = [build_network(merged, warn=warn)] if merged or not tables else []
    for name, table in tables.items():
        networks.append(_named_network(name, table, warn))
    _check_together(networks)
    return Config(networks=tuple(networks), **program)


def _named_network(name: str, table: Mapping[str, Any], warn: Callable[[str], None]) -> NetworkConfig:
    if not settings.is_label(name):
        raise ConfigError(f"{name!r} is no name for a network; take letters, digits and hyphens, as in [network.lab].")
    for key in table:
        if key in OF_PROGRAM:
            raise ConfigError(f"network {name}: {key.replace('_', '-')} is of the whole program; set it at the top.")
    try:
        return build_network(table, name, warn=warn)
    except ConfigError as error:
        raise ConfigError(f"network {name}: {error}") from None


def build_network(
    given: Mapping[str, Any],
    name: str = DEFAULT,
    *,
    named: Callable[[str], str] = str,
    warn: Callable[[str], None] = lambda sentence: None,
) -> NetworkConfig:
    """One network from its settings.  `named`: how the user calls a setting; `warn` takes a sentence about what is
    not wrong, but not good either.  Raises ConfigError."""
    uplink = given.get("uplink", "nat")
    if not isinstance(uplink, str) or uplink not in SETTINGS:
        raise ConfigError(f"{named('uplink')}: {uplink} is not one of nat, none, ppp.")
    for each in given:
        if each not in SETTINGS[uplink]:
            known = settings.suggestion(each, SETTINGS[uplink])
            raise ConfigError(f"There is no setting {each!r} where the uplink is {uplink}{known}.")
    values: dict[str, Any] = {"name": name, "uplink": uplink}
    if "links" in given:
        values["links"] = settings.link_list(given["links"])
    if "domain" in given:
        values["domain"] = settings.domain_name(named("domain"), given["domain"])
    if "search" in given:
        values["search"] = settings.domain_list(given["search"])
    if "echo_interval" in given:
        values["echo_interval"] = settings.seconds(named("echo_interval"), given["echo_interval"])
    if uplink == "ppp":
        return NetworkConfig(**_with_call(values, given, named, warn))
    for each in ("mru", "mtu"):
        if each in given:
            values[each] = settings.integer(named(each), given[each], settings.MTU_LEAST, settings.MTU_MOST)
    return NetworkConfig(**_with_router(values, given, named))


def _with_router(values: dict[str, Any], given: Mapping[str, Any], named: Callable[[str], str]) -> dict[str, Any]:
    """What a network has whose guests get their addresses from us."""
    net = settings.ipv4_network(given.get("net", "10.0.2.0/24"))
    gateway, dns, guest = settings.own_addresses(net, given)
    values |= {"net": net, "gateway": gateway, "dns": dns, "guest": guest}
    for each in ("host_loopback", "internet_only"):
        if each in given:
            values[each] = settings.boolean(named(each), given[each])
    if "tcp_idle" in given:
        values["tcp_idle"] = settings.seconds(named("tcp_idle"), given["tcp_idle"], least=240)
    if "keepalive" in given:
        values["keepalive"] = settings.seconds(named("keepalive"), given["keepalive"])
    if "forward" in given:
        values["forward"] = settings.forward_list(given["forward"], net, gateway, dns)
    if "resolver" in given:
        values["resolver"] = settings.resolver_list(given["resolver"])
    if "auth" in given:
        values["auth"] = settings.auth_choice(given["auth"])
    return values


def _with_call(
    values: dict[str, Any], given: Mapping[str, Any], named: Callable[[str], str], warn: Callable[[str], None]
) -> dict[str, Any]:
    """What a network has whose guests are behind a PPP server."""
    if "links" not in given:
        raise ConfigError(f"{named('links')}: name the cables of the guests, as in ether:unix-listen:/tmp/eth0.")
    if "ppp" not in given:
        raise ConfigError(f"{named('ppp')}: name the line to the PPP server, as in serial:/dev/ttyUSB0@115200.")
    values.setdefault("echo_interval", 10.0)
    for each, least in (("mru", CALLER_MRU_LEAST), ("mtu", settings.MTU_LEAST)):
        if each in given:
            values[each] = settings.integer(named(each), given[each], least, CALLER_MTU_MOST)
    call: dict[str, Any] = {"ppp": settings.nonempty(named("ppp"), given["ppp"])}
    call["credentials"] = credentials(given.get("user"), given.get("password_file"), named, warn)
    if "chat" in given:
        call["chat"] = _chat(settings.nonempty(named("chat"), given["chat"]))
    if "address" in given:
        call["address"] = settings.address_of_host(named("address"), given["address"])
    if "dns" in given:
        servers = given["dns"] if isinstance(given["dns"], list | tuple) else [given["dns"]]
        call["dns"] = tuple(settings.address_of_host(named("dns"), each) for each in servers)[:NAME_SERVERS_MOST]
    if "lease" in given:
        call["lease"] = settings.seconds(named("lease"), given["lease"], least=10)
    if "idle" in given:
        call["idle"] = settings.seconds(named("idle"), given["idle"])
    if "tries" in given:
        call["tries"] = settings.integer(named("tries"), given["tries"], 0, 1000)
    for each in ("demand", "persist"):
        if each in given:
            call[each] = settings.boolean(named(each), given[each])
    values["call"] = CallConfig(**call)
    if values["call"].demand and not values["call"].persist:
        raise ConfigError("--demand calls again and again; it cannot be had with --no-persist.")
    return values


def credentials(
    user: object, path: object, named: Callable[[str], str], warn: Callable[[str], None]
) -> Credentials | None:
    """Name and password, the latter the first line of a file.  Raises ConfigError."""
    user_name, file_name = named("user"), named("password_file")
    if user is None and path is None:
        return None
    if user is None:
        raise ConfigError(f"{file_name} is of no use without a name; give it with {user_name} NAME.")
    if path is None:
        raise ConfigError(f"{user_name} needs a password; write it into a file and name that with {file_name} FILE.")
    name = settings.nonempty(user_name, user).encode("utf-8", "surrogateescape")
    password = _read_password(os.path.expanduser(settings.nonempty(file_name, path)), warn)
    for what, value in (("name", name), ("password", password)):
        if not 0 < len(value) <= SECRET_MOST:
            raise ConfigError(f"The {what} has {len(value)} octets; PPP takes 1 to {SECRET_MOST}.")
    return Credentials(name, password)


def _read_password(path: str, warn: Callable[[str], None]) -> bytes:
    try:
        with open(path, "rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                warn(f"Others may read the password file {path}; take that from them with chmod 600 {path}.")
            line = file.readline(SECRET_MOST + 3)
    except OSError as error:
        raise ConfigError(f"The password file {path} cannot be read: {error.strerror}.") from None
    if not line.strip(b"\r\n"):
        raise ConfigError(f"The first line of the password file {path} is empty; write the password there.")
    return line.rstrip(b"\r\n")


def _chat(path: str) -> "tuple[Step, ...]":
    from pppgate.eoppp.chat import ChatError, load
    from pppgate.eoppp.conversation import need_pexpect

    try:
        steps = load(os.path.expanduser(path))
        need_pexpect()
    except ChatError as error:
        raise ConfigError(str(error)) from None
    return steps


def _check_together(networks: list[NetworkConfig]) -> None:
    """What two networks cannot both have: a name, a link, a port of the host, addresses."""
    if len(networks) > NETWORKS_MOST:
        raise ConfigError(f"There are {len(networks)} networks; one process serves {NETWORKS_MOST} at the most.")
    seen_links: dict[str, str] = {}
    seen_forwards: dict[tuple[str, str, int], str] = {}
    for at, network in enumerate(networks):
        for other in networks[:at]:
            if other.name == network.name:
                raise ConfigError(
                    f"The settings at the top are of the network {DEFAULT}, and there is a table of that name too; "
                    "put them into one place."
                )
            if "ppp" not in (network.uplink, other.uplink) and network.net.overlaps(other.net):
                raise ConfigError(
                    f"network {network.name}: its addresses {network.net} overlap those of the network {other.name}, "
                    f"{other.net}; give each its own with net."
                )
        lines = (*network.links, *((network.call.ppp,) if network.call is not None else ()))
        for link in lines:
            if link != "pty:" and seen_links.setdefault(link, network.name) != network.name:
                raise ConfigError(f"The link {link} is named twice; name it once.")
        for forward in network.forward:
            key = (forward.protocol, forward.bind, forward.port)
            if seen_forwards.setdefault(key, network.name) != network.name:
                raise ConfigError(f"The forward {forward} uses a port that another one uses already.")
