"""The values that can be set: what a person wrote, one value at a time, made into what the program works with.

In: the name under which the value was written, and the value: a text, a number, or what a TOML file holds.  Out: the
value checked, or a ConfigError whose text is one plain sentence that says what to do.  It knows no tree of settings
(pppgate.config has that), opens no device and no socket, and reads no file.
"""

import difflib
import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Literal

LOG_LEVELS = ("error", "warning", "info", "debug")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
MTU_LEAST = 68
"""Octets: RFC 791 section 3.2, the least that every IPv4 link carries."""
MTU_MOST = 9000
"""Octets: a jumbo frame, more than any serial line wants."""
SECONDS_MOST = 86400
"""A day: the longest of all times that can be set."""
_EXAMPLES = {"gateway": "10.0.2.2", "dns": "10.0.2.3", "guest": "10.0.2.15"}


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
    return Forward(protocol, str(address), port, inner, guest_port)


# -- the parts


def _endpoint(spec: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError(f"The forward {spec!r} has an IPv6 address without brackets: write [::1]:8080.")
    if not is_port(port):
        raise ConfigError(f"The forward {spec!r} has no valid port: {port!r} is not a number from 1 to 65535.")
    return host, int(port)


def is_label(text: str) -> bool:
    """Whether the text is one label of a domain name (RFC 1035 section 2.3.1)."""
    return bool(_LABEL.fullmatch(text))


def is_port(text: str) -> bool:
    """Whether the text is a port number, 1 to 65535, in plain digits."""
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536


def ipv4_network(value: object) -> IPv4Network:
    if isinstance(value, IPv4Network):
        return value
    try:
        net = IPv4Network(nonempty("net", value))
    except ValueError:
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


def own_addresses(net: IPv4Network, given: Mapping[str, Any]) -> tuple[IPv4Address, IPv4Address, IPv4Address]:
    """Gateway, DNS and first guest: as given, or the 2nd, 3rd and 15th address, or the next that is free."""
    chosen: dict[str, IPv4Address] = {}
    for name in ("gateway", "dns", "guest"):
        if name not in given:
            continue
        value = given[name]
        try:
            address = value if isinstance(value, IPv4Address) else IPv4Address(nonempty(name, value))
        except ValueError:
            raise ConfigError(f"{name}: {value} is not an IPv4 address; write one such as {_EXAMPLES[name]}.") from None
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


def link_list(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple) or not all(isinstance(link, str) for link in value):
        raise ConfigError('links: write a list of links, as in links = ["pty:/tmp/com1", "tcp-listen:4000"].')
    links = tuple(value) or ("pty:",)
    seen = set()
    for link in links:
        if "\0" in link:
            raise ConfigError(f"links: {link!r} is no link; leave out the NUL character.")
        if link in seen and link != "pty:":
            raise ConfigError(f"The link {link} is named twice; name it once.")
        seen.add(link)
    return links


def forward_list(value: object, net: IPv4Network, gateway: IPv4Address, dns: IPv4Address) -> tuple[Forward, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ConfigError('forward: write a list, as in forward = ["tcp:8080=80"].')
    forwards = tuple(each if isinstance(each, Forward) else parse_forward(nonempty("forward", each)) for each in value)
    seen = set()
    for forward in forwards:
        if forward.guest is not None and (forward.guest not in net or forward.guest in (gateway, dns)):
            raise ConfigError(f"The forward {forward} does not lead to a guest's address in {net}.")
        key = (forward.protocol, forward.bind, forward.port)
        if key in seen:
            raise ConfigError(f"The forward {forward} uses a port that another one uses already.")
        seen.add(key)
    return forwards


def resolver_list(value: object) -> tuple[Resolver, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ConfigError('resolver: write a list, as in resolver = ["9.9.9.9", "[2620:fe::fe]:53"].')
    return tuple(each if isinstance(each, Resolver) else _resolver(nonempty("resolver", each)) for each in value)


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
    if not is_port(port):
        raise ConfigError(f"resolver: {text} has no valid port: {port!r} is not a number from 1 to 65535.")
    return Resolver(str(address), int(port))


def auth_choice(value: object) -> str:
    auth = nonempty("auth", value)
    if auth in ("none", "any"):
        return auth
    path = os.path.expanduser(auth)
    if not os.path.isfile(path):
        raise ConfigError(f"auth: {path} is neither none, any, nor a file of names and passwords.")
    if not os.access(path, os.R_OK):
        raise ConfigError(f"auth: {path} may not be read by you.")
    return path


def domain_name(name: str, value: object) -> str:
    """RFC 1035 section 2.3.1, and underscores, which are met in practice."""
    domain = nonempty(name, value).removesuffix(".")
    labels = domain.split(".")
    if len(domain) > 253 or not all(is_label(label) for label in labels):
        raise ConfigError(f"{name}: {value} is not a domain name; write one such as example.org.")
    return domain


def domain_list(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise ConfigError('search: write a list of domains, as in search = ["example.org"].')
    domains = tuple(domain_name("search", each) for each in value)
    # In DHCP each label costs an octet more than it has letters, each name an octet; an option holds 255 (RFC 3397).
    if sum(len(domain) + 2 for domain in domains) > 255:
        raise ConfigError("search: the domains are too long for a DHCP option, which holds 255 octets; give fewer.")
    return domains


def log_level(value: object) -> str:
    level = nonempty("log_level", value).lower()
    if level not in LOG_LEVELS:
        raise ConfigError(f"log_level: {value} is not one of {', '.join(LOG_LEVELS)}.")
    return level


def nonempty(name: str, value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ConfigError(f"{name}: a text is needed, not {value!r}.")
    return value


def boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: write true or false, not {value!r}.")
    return value


def integer(name: str, value: object, least: int, most: int) -> int:
    try:
        number = int(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
        raise ConfigError(f"{name}: a whole number from {least} to {most} is needed, not {_shown(value)}.")
    return number


def seconds(name: str, value: object, least: int = 0) -> float:
    try:
        seconds = float(value) if isinstance(value, str | int | float) else -1.0
    except (ValueError, OverflowError):
        seconds = -1.0
    if isinstance(value, bool) or not least <= seconds <= SECONDS_MOST:
        lowest = str(least) if least else "0 (never)"
        raise ConfigError(
            f"{name}: a number of seconds from {lowest} to {SECONDS_MOST} is needed, not {_shown(value)}."
        )
    return seconds


def _shown(value: object) -> str:
    """As a sentence repeats it: Python does not print a number of thousands of digits, and nobody would read it."""
    if isinstance(value, int) and abs(value) >= 10**18:
        return "a number of so many digits"
    return str(value)


def address_of_host(name: str, value: object) -> bytes:
    """4 octets of an address that a host may have."""
    try:
        address = value if isinstance(value, IPv4Address) else IPv4Address(nonempty(name, value))
    except ValueError:
        raise ConfigError(f"{name}: {value} is not an IPv4 address.") from None
    if address.is_multicast or address.is_loopback or address.packed[0] in (0, 255):
        raise ConfigError(f"{name}: {value} is not the address of a host.")
    return address.packed


def suggestion(name: str, known: Iterable[str]) -> str:
    """How a sentence about an unknown setting ends: the nearest that there is, or all."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f" (did you mean {near[0].replace('_', '-')}?)"
    return "; there are " + ", ".join(each.replace("_", "-") for each in names)
