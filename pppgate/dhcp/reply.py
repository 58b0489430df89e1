"""The replies of the DHCP server: what a client is told, in which order, and where the answer goes.

In: a request (message.Message), the Settings of the network, an address.  Out: an Answer.  Who gets which address
was decided before.  RFC 2131 sections 4.1 and 4.3, 2132, 3397, 6842; BOOTP: RFC 951, 1497, 1542.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Final

from pppgate.dhcp import message as wire
from pppgate.dhcp.message import Message, build, domain_labels, encode_search
from pppgate.ether.dhcp_service import Answer
from pppgate.ether.frame import BROADCAST

# RFC 2132 section 9.6
DISCOVER: Final = 1
OFFER: Final = 2
REQUEST: Final = 3
DECLINE: Final = 4
ACK: Final = 5
NAK: Final = 6
RELEASE: Final = 7
INFORM: Final = 8

NO_ADDRESS: Final = bytes(4)
EVERYBODY: Final = b"\xff" * 4
FOREVER: Final = 0xFFFFFFFF
"""Seconds (RFC 2131 section 3.3)."""
SIZE_LEAST: Final = 576
"""Octets of IP datagram that every client takes (RFC 2131 section 2); what it says in option 57 cannot be less."""
SIZE_MOST: Final = 1500
USUAL_MTU: Final = 1500
MTU_LEAST: Final = 68
"""RFC 2132 section 5.1."""
_HEADERS: Final = 28  # octets: IPv4 and UDP
_ADDRESSES_MOST: Final = 63  # in one option
_REFUSED: Final = b"The address is not free here."


@dataclass(frozen=True)
class Settings:
    """What the guests are told.  Addresses are 4 octets; ValueError, in one sentence, for what cannot be told."""

    server: bytes
    """Our own address, and so the server identifier."""
    prefix: int
    routers: tuple[bytes, ...]
    dns: tuple[bytes, ...]
    mtu: int
    lease: float
    """Seconds; math.inf: forever."""
    domain: str = ""
    search: tuple[str, ...] = ()
    """What goes beyond 255 octets as they are encoded is left out."""

    def __post_init__(self) -> None:
        if not 0 <= self.prefix <= 32 or any(len(each) != 4 for each in (self.server, *self.routers, *self.dns)):
            raise ValueError("A network has a prefix from 0 to 32, and addresses of 4 octets.")
        if not self.lease >= 1:
            raise ValueError(f"A lease of {self.lease} seconds is too short; give it at least one.")
        if not MTU_LEAST <= self.mtu <= 0xFFFF:
            raise ValueError(f"An MTU of {self.mtu} cannot be told; use {MTU_LEAST} to 65535.")
        for name in (self.domain, *self.search) if self.domain else self.search:
            domain_labels(name)


def offer(message: Message, settings: Settings, address: bytes, key: str) -> Answer:
    return _lease(message, settings, OFFER, address, key, "")


def acknowledge(message: Message, settings: Settings, address: bytes, key: str, said: str) -> Answer:
    return _lease(message, settings, ACK, address, key, said)


def refuse(message: Message, settings: Settings, key: str, said: str) -> Answer:
    """A DHCPNAK, to everybody (RFC 2131 section 4.1) and with hardly an option (table 3)."""
    options = [*_head(settings, NAK), (wire.TEXT, _REFUSED), *_tail(message)]
    return Answer(build(message, options, most=_room(message)), EVERYBODY, BROADCAST, said, key)


def inform(message: Message, settings: Settings, address: bytes, key: str) -> Answer:
    """For a client that has an address: all but that and its lease (RFC 2131 section 4.3.5)."""
    options = [*_head(settings, ACK), *_ordered(_parameters(settings, address), message), *_tail(message)]
    reply = build(message, options, ciaddr=message.ciaddr, most=_room(message))
    return Answer(reply, address, message.mac, "", key)


def bootp(message: Message, settings: Settings, given: bytes | None, key: str, said: str) -> Answer:
    """`given`: None for a client that knows its address.  The vendor's area is as RFC 1497 has it, of 64 octets."""
    address = given or message.ciaddr
    known = _parameters(settings, address)
    options = [(code, known[code]) for code in (wire.MASK, wire.ROUTER, wire.DNS, wire.DOMAIN) if code in known]
    reply = build(
        message,
        options,
        ciaddr=message.ciaddr,
        yiaddr=given or NO_ADDRESS,
        siaddr=settings.server,
        most=wire.BOOTP_LEAST,
    )
    return Answer(reply, *_destination(message, address), said, key)


def nothing(message: Message, key: str, said: str) -> Answer:
    return Answer(b"", NO_ADDRESS, message.mac, said, key)


def _lease(message: Message, settings: Settings, kind: int, address: bytes, key: str, said: str) -> Answer:
    seconds = FOREVER if settings.lease >= FOREVER else int(settings.lease)
    known = _parameters(settings, address)
    if seconds != FOREVER:
        known[wire.T1] = (seconds // 2).to_bytes(4, "big")
        known[wire.T2] = (seconds * 7 // 8).to_bytes(4, "big")
    lease = (wire.LEASE, seconds.to_bytes(4, "big"))
    reply = build(
        message,
        [*_head(settings, kind), lease, *_ordered(known, message), *_tail(message)],
        ciaddr=message.ciaddr if kind == ACK else NO_ADDRESS,
        yiaddr=address,
        most=_room(message),
    )
    return Answer(reply, *_destination(message, address), said, key)


def _destination(message: Message, address: bytes) -> tuple[bytes, bytes]:
    """RFC 2131 section 4.1, RFC 1542 section 4.1.2; giaddr is 0 here."""
    if message.ciaddr != NO_ADDRESS:
        return message.ciaddr, message.mac
    if message.flags & wire.BROADCAST_FLAG:
        return EVERYBODY, BROADCAST
    return address, message.mac


def _room(message: Message) -> int:
    """Octets of the longest reply that the client takes."""
    size = int.from_bytes(message.options.get(wire.SIZE, b""), "big")
    return min(max(size, SIZE_LEAST), SIZE_MOST) - _HEADERS


def _head(settings: Settings, kind: int) -> list[tuple[int, bytes]]:
    """First of all, since some clients look no further than they must."""
    return [(wire.KIND, bytes((kind,))), (wire.SERVER, settings.server)]


def _tail(message: Message) -> list[tuple[int, bytes]]:
    """What goes back as it came: the client identifier (RFC 6842), and last what a relay put there (RFC 3046)."""
    back = [(code, message.options.get(code, b"")) for code in (wire.CLIENT_ID, wire.RELAY)]
    return [(code, value) for code, value in back if 0 < len(value) <= 255]


def _parameters(settings: Settings, address: bytes) -> dict[int, bytes]:
    """All that a guest at `address` may be told, in the order for those that do not say what they want."""
    net = IPv4Network((address, settings.prefix), strict=False)
    known = {
        wire.MASK: net.netmask.packed,
        wire.ROUTER: b"".join(settings.routers[:_ADDRESSES_MOST]),
        wire.DNS: b"".join(settings.dns[:_ADDRESSES_MOST]),
        wire.DOMAIN: settings.domain.encode(),
        wire.BROADCAST_ADDRESS: net.broadcast_address.packed if settings.prefix < 31 else b"",
        wire.MTU: settings.mtu.to_bytes(2, "big"),
        wire.SEARCH: encode_search(settings.search),
    }
    return {code: value for code, value in known.items() if value}


def _ordered(known: dict[int, bytes], message: Message) -> list[tuple[int, bytes]]:
    """What the client asked for, in its order (RFC 2132 section 9.8); everything if it did not say.

    Told unasked: the mask, which nobody can guess, before the router in any case (section 3.3); the times of renewal;
    an MTU that is less than everybody assumes.
    """
    order = list(dict.fromkeys(message.options.get(wire.WANTED, b""))) or list(known)
    unasked = [wire.T1, wire.T2]
    if int.from_bytes(known[wire.MTU], "big") < USUAL_MTU:
        unasked.append(wire.MTU)
    order += [code for code in unasked if code not in order]
    if wire.MASK not in order:
        order.insert(0, wire.MASK)
    elif wire.ROUTER in order and order.index(wire.ROUTER) < order.index(wire.MASK):
        order.remove(wire.MASK)
        order.insert(order.index(wire.ROUTER), wire.MASK)
    return [(code, known[code]) for code in order if code in known]
