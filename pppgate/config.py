"""Config: everything that can be set, from the command line and a TOML file, checked.

In: what the user wrote, as plain values by name. Out: one frozen Config, or a ConfigError whose text is one
plain sentence that says what to do. It opens no device and no socket.
"""

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Literal

LOG_LEVELS = ("error", "warning", "info", "debug")
_FILE_MOST = 1 << 20
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_MRU_LEAST = 68
"""Octets: RFC 791 section 3.2, the least that every IPv4 link carries."""
_MRU_MOST = 9000


class ConfigError(Exception):
    """What the user asked for cannot be done. The text is one plain sentence."""


@dataclass(frozen=True)
class Forward:
    """A port of the host that leads to a guest."""

    protocol: Literal["tcp", "udp"]
    """ "tcp" or "udp"."""
    bind: str
    """Numeric address of the host, IPv4 or IPv6."""
    port: int
    guest: IPv4Address | None
    """None: the first guest's address."""
    guest_port: int

    def __str__(self) -> str:
        bind = f"[{self.bind}]" if ":" in self.bind else self.bind
        guest = "" if self.guest is None else f"{self.guest}:"
        return f"{self.protocol}:{bind}:{self.port}={guest}{self.guest_port}"


@dataclass(frozen=True)
class Resolver:
    """A DNS resolver of the host's side."""

    address: str
    """Numeric, IPv4 or IPv6."""
    port: int = 53

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Config:
    """The names are those of the options and of the keys in the TOML file, where `-` and `_` are the same."""

    links: tuple[str, ...] = ("pty:",)
    """Where guests dial in: pty:[SYMLINK], tty:PATH, ... (serialport.url.open_link)."""
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
    """Octets: the largest packet that we are ready to receive from a guest, announced in LCP."""
    mtu: int = 1500
    """Octets: the largest packet that we send to a guest, if its own MRU is not smaller."""
    echo_interval: float = 30.0
    """Seconds between LCP echoes on a silent link; 0 for none."""
    tcp_idle: float = 7440.0
    """Seconds after which an idle TCP connection ends; at least 240 (RFC 5382)."""
    keepalive: float = 0.0
    """Seconds of silence after which a guest is asked whether it still knows a TCP connection; 0 for never."""
    forward: tuple[Forward, ...] = ()
    """Ports of the host that lead to a guest."""
    pcap: str | None = None
    """File for a capture of every frame, PPP and Ethernet, for Wireshark."""
    log_level: str = "info"
    """One of LOG_LEVELS: the least important lines that are shown."""
    verbose: int = 0
    """1: every control packet in words; 2: more."""


DEFAULTS: Mapping[str, Any] = {each.name: each.default for each in fields(Config)}


def load(path: str) -> dict[str, Any]:
    """The values in a TOML file, by name, not checked yet but for the names. Raises ConfigError."""
    path = os.path.expanduser(path)
    try:
        with open(path, "rb") as file:
            data = file.read(_FILE_MOST + 1)
    except OSError as error:
        raise ConfigError(f"The configuration file {path} cannot be read: {error.strerror}.") from None
    if len(data) > _FILE_MOST:
        raise ConfigError(f"The configuration file {path} is larger than {_FILE_MOST} octets.")
    try:
        table = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration file {path} is not valid TOML: {error}.") from None
    values = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in DEFAULTS:
            raise ConfigError(f"{path}: there is no setting {key!r}{_suggestion(name)}.")
        values[name] = value
    return values


def build(*sources: Mapping[str, Any]) -> Config:
    """A Config from sources in order, later ones winning. Missing keys and None mean not given."""
    merged: dict[str, Any] = {}
    for source in sources:
        merged.update({name: value for name, value in source.items() if value is not None})
    for name in merged:
        if name not in DEFAULTS:
            raise ConfigError(f"There is no setting {name!r}{_suggestion(name)}.")
    net = _network(merged.get("net", DEFAULTS["net"]))
    gateway, dns, guest = _addresses(net, merged)
    values: dict[str, Any] = {"net": net, "gateway": gateway, "dns": dns, "guest": guest}
    if "links" in merged:
        values["links"] = _links(merged["links"])
    for name in ("host_loopback", "internet_only"):
        if name in merged:
            values[name] = _boolean(name, merged[name])
    for name in ("mru", "mtu"):
        if name in merged:
            values[name] = _integer(name, merged[name], _MRU_LEAST, _MRU_MOST)
    if "verbose" in merged:
        values["verbose"] = _integer("verbose", merged["verbose"], 0, 9)
    if "echo_interval" in merged:
        values["echo_interval"] = _seconds("echo_interval", merged["echo_interval"])
    if "tcp_idle" in merged:
        values["tcp_idle"] = _seconds("tcp_idle", merged["tcp_idle"], least=240)
    if "keepalive" in merged:
        values["keepalive"] = _seconds("keepalive", merged["keepalive"])
    if "forward" in merged:
        values["forward"] = _forwards(merged["forward"], net, gateway, dns)
    if "resolver" in merged:
        values["resolver"] = _resolvers(merged["resolver"])
    if "domain" in merged:
        values["domain"] = _domain("domain", merged["domain"])
    if "search" in merged:
        values["search"] = _search(merged["search"])
    if "auth" in merged:
        values["auth"] = _auth(merged["auth"])
    if "pcap" in merged:
        values["pcap"] = os.path.expanduser(_text("pcap", merged["pcap"]))
    if "log_level" in merged:
        values["log_level"] = _log_level(merged["log_level"])
    return Config(**values)


def parse_forward(spec: str) -> Forward:
    """tcp|udp:[BIND:]PORT=[GUEST:]PORT; an IPv6 BIND in brackets. Raises ConfigError."""
    outside, equals, inside = spec.partition("=")
    name, colon, rest = outside.partition(":")
    protocol: Literal["tcp", "udp"] = "udp" if name == "udp" else "tcp"
    if not equals or not colon or name != protocol:
        raise ConfigError(
            f"The forward {spec!r} is not understood: write tcp:PORT=PORT or udp:[BIND:]PORT=[GUEST:]PORT."
        )
    bind, port = _endpoint(spec, rest)
    guest, guest_port = _endpoint(spec, inside)
    try:
        address = ipaddress.ip_address(bind or "127.0.0.1")
    except ValueError:
        raise ConfigError(
            f"The forward {spec!r} has no valid address to listen on: {bind} is not an IP address."
        ) from None
    try:
        inner = IPv4Address(guest) if guest else None
    except ValueError:
        raise ConfigError(f"The forward {spec!r} has no valid guest: {guest} is not an IPv4 address.") from None
    return Forward("tcp" if protocol == "tcp" else "udp", str(address), port, inner, guest_port)


# -- the parts


def _endpoint(spec: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError(f"The forward {spec!r} has an IPv6 address without brackets: write [::1]:8080.")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigError(f"The forward {spec!r} has no valid port: {port!r} is not a number from 1 to 65535.")
    return host, int(port)


def _network(value: object) -> IPv4Network:
    if isinstance(value, IPv4Network):
        return value
    try:
        net = IPv4Network(_text("net", value))
    except ValueError:
        hint = ""
        try:
            hint = f": the network around it is {IPv4Network(str(value), strict=False)}"
        except ValueError:
            hint = "; write one such as 10.0.2.0/24"
        raise ConfigError(f"net: {value} is not an IPv4 network{hint}.") from None
    if net.prefixlen > 29:
        raise ConfigError(f"net: {net} is too small; a gateway, a DNS relay and a guest need a /29 or larger.")
    if net.is_multicast or net.is_loopback or net.network_address.packed[0] in (0, *range(240, 256)):
        raise ConfigError(f"net: {net} is not a network for hosts; use one such as 10.0.2.0/24.")
    return net


def _addresses(net: IPv4Network, given: Mapping[str, Any]) -> tuple[IPv4Address, IPv4Address, IPv4Address]:
    """Gateway, DNS and first guest: as given, or the 2nd, 3rd and 15th address, or the next that is free."""
    chosen: dict[str, IPv4Address] = {}
    for name in ("gateway", "dns", "guest"):
        if name not in given:
            continue
        value = given[name]
        try:
            address = value if isinstance(value, IPv4Address) else IPv4Address(_text(name, value))
        except ValueError:
            raise ConfigError(f"{name}: {value} is not an IPv4 address; write one such as {DEFAULTS[name]}.") from None
        if address not in net:
            raise ConfigError(f"{name}: {address} does not lie in the network {net}; change it or --net.")
        if address in (net.network_address, net.broadcast_address):
            raise ConfigError(f"{name}: {address} is the network or broadcast address of {net}; take another.")
        for other, taken in chosen.items():
            if taken == address:
                raise ConfigError(f"{name} and {other} are both {address}; they have to be different.")
        chosen[name] = address
    for name, offset in (("gateway", 2), ("dns", 3), ("guest", 15)):
        if name not in chosen:
            chosen[name] = _free(net, offset, set(chosen.values()))
    return chosen["gateway"], chosen["dns"], chosen["guest"]


def _free(net: IPv4Network, offset: int, taken: set[IPv4Address]) -> IPv4Address:
    last = int(net.broadcast_address) - 1
    first = int(net.network_address) + 1
    wanted = int(net.network_address) + offset
    order = [*range(wanted, min(wanted + 8, last + 1)), *range(first, min(first + 8, last + 1))]
    return next(IPv4Address(number) for number in order if IPv4Address(number) not in taken)


def _links(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple) or not all(isinstance(link, str) for link in value):
        raise ConfigError('links: write a list of links, as in links = ["pty:/tmp/com1", "tcp-listen:4000"].')
    links = tuple(value) or ("pty:",)
    seen = set()
    for link in links:
        if link in seen and link != "pty:":
            raise ConfigError(f"The link {link} is named twice; name it once.")
        seen.add(link)
    return links


def _forwards(value: object, net: IPv4Network, gateway: IPv4Address, dns: IPv4Address) -> tuple[Forward, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ConfigError('forward: write a list, as in forward = ["tcp:8080=80"].')
    forwards = tuple(each if isinstance(each, Forward) else parse_forward(_text("forward", each)) for each in value)
    seen = set()
    for forward in forwards:
        if forward.guest is not None and (forward.guest not in net or forward.guest in (gateway, dns)):
            raise ConfigError(f"The forward {forward} does not lead to a guest's address in {net}.")
        key = (forward.protocol, forward.bind, forward.port)
        if key in seen:
            raise ConfigError(f"The forward {forward} uses a port that another one uses already.")
        seen.add(key)
    return forwards


def _resolvers(value: object) -> tuple[Resolver, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ConfigError('resolver: write a list, as in resolver = ["9.9.9.9", "[2620:fe::fe]:53"].')
    return tuple(each if isinstance(each, Resolver) else _resolver(_text("resolver", each)) for each in value)


def _resolver(text: str) -> Resolver:
    host, port = text, "53"
    if text.startswith("[") or text.count(":") == 1:
        host, colon, port = text.rpartition(":")
        if not colon or text.endswith("]"):
            host, port = text, "53"
        host = host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ConfigError(f"resolver: {text} is not an IP address; write ADDR, ADDR:PORT or [IPv6]:PORT.") from None
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigError(f"resolver: {text} has no valid port: {port!r} is not a number from 1 to 65535.")
    return Resolver(str(address), int(port))


def _auth(value: object) -> str:
    auth = _text("auth", value)
    if auth in ("none", "any"):
        return auth
    path = os.path.expanduser(auth)
    if not os.path.isfile(path):
        raise ConfigError(f"auth: {path} is neither none, any, nor a file of names and passwords.")
    if not os.access(path, os.R_OK):
        raise ConfigError(f"auth: {path} may not be read by you.")
    return path


def _domain(name: str, value: object) -> str:
    """RFC 1035 section 2.3.1, and underscores, which are met in practice."""
    domain = _text(name, value).removesuffix(".")
    labels = domain.split(".")
    if len(domain) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ConfigError(f"{name}: {value} is not a domain name; write one such as example.org.")
    return domain


def _search(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ConfigError('search: write a list of domains, as in search = ["example.org"].')
    domains = tuple(_domain("search", each) for each in value)
    # In DHCP each label costs an octet more than it has letters, each name an octet; an option holds 255 (RFC 3397).
    if sum(len(domain) + 2 for domain in domains) > 255:
        raise ConfigError("search: the domains are too long for a DHCP option, which holds 255 octets; give fewer.")
    return domains


def _log_level(value: object) -> str:
    level = _text("log_level", value).lower()
    if level not in LOG_LEVELS:
        raise ConfigError(f"log_level: {value} is not one of {', '.join(LOG_LEVELS)}.")
    return level


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ConfigError(f"{name}: a text is needed, not {value!r}.")
    return value


def _boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: write true or false, not {value!r}.")
    return value


def _integer(name: str, value: object, least: int, most: int) -> int:
    try:
        number = int(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
        raise ConfigError(f"{name}: a whole number from {least} to {most} is needed, not {value}.")
    return number


def _seconds(name: str, value: object, least: int = 0) -> float:
    try:
        seconds = float(value) if isinstance(value, str | int | float) else -1.0
    except ValueError:
        seconds = -1.0
    if isinstance(value, bool) or not least <= seconds <= 86400:
        lowest = str(least) if least else "0 (never)"
        raise ConfigError(f"{name}: a number of seconds from {lowest} to 86400 is needed, not {value}.")
    return seconds


def _suggestion(name: str) -> str:
    near = difflib.get_close_matches(name, list(DEFAULTS), n=1)
    if near:
        return f" (did you mean {near[0].replace('_', '-')}?)"
    return "; there are " + ", ".join(each.replace("_", "-") for each in DEFAULTS)
