"""A DHCP server for one segment, which answers BOOTP too: sans-I/O, one message in, at most one out.

In: the payload of a datagram to UDP port 67, and who sent it.  Out: an Answer to be sent from port 67 to port 68, or
None.  Who has which address is asked of Leases, what else a guest should know is asked of `settings` each time; it
knows neither sockets nor frames nor where its addresses come from.

It is the only server of its segment and says so ("authoritative"): a request for an address that cannot be had is
refused at once, in whatever state the client is, so that it asks anew instead of waiting for a time-out.

RFC 2131, 2132, 3396, 6842; BOOTP: RFC 951, 1497, 1542.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from nat.wire.ipv4 import dotted
from pppgate.dhcp import message as wire
from pppgate.dhcp.clients import Clients, mac_key
from pppgate.dhcp.message import Dropped, Message, parse
from pppgate.dhcp.reply import (
    DECLINE,
    DISCOVER,
    INFORM,
    NO_ADDRESS,
    RELEASE,
    REQUEST,
    Answer,
    Settings,
    acknowledge,
    bootp,
    inform,
    nothing,
    offer,
    refuse,
)
from pppgate.ether.frame import NOBODY, is_group, mac_text

__all__ = ["Answer", "DhcpServer", "Leases", "Settings"]

NAME_MOST: Final = 32
"""Letters of a host name that are repeated to people."""


class Leases(Protocol):
    """Who has which address.  `key` is any name that stays with a client."""

    def wish(self, key: str, wanted: bytes | None, now: float) -> bytes | None:
        """The address that `key` would get, held for it a while; asked again it is the same.  None: none is free."""

    def bind(self, key: str, address: bytes, now: float) -> bool:
        """May `key` have exactly this one?  True: it is its own for the lease, counted from now."""

    def release(self, key: str, address: bytes, now: float) -> None:
        """`key` gives the address back, if it is its own."""

    def decline(self, key: str, address: bytes, now: float) -> None:
        """Somebody else answers for the address that `key` was given: keep it out of use for a while."""

    def holder(self, address: bytes) -> str | None:
        """The key that has the address."""


class DhcpServer:
    """`settings`: None when nothing can be leased now; the server is silent then.  `count`: what was dropped."""

    def __init__(self, leases: Leases, settings: Callable[[], Settings | None], count: Counter[str]) -> None:
        self._leases = leases
        self._settings = settings
        self._count = count
        self._clients = Clients()
        self._handlers: dict[int, Callable[[Message, Settings, bytes, float], Answer]] = {
            DISCOVER: self._discover,
            REQUEST: self._request,
            DECLINE: self._decline,
            RELEASE: self._release,
            INFORM: self._inform,
        }

    def receive(self, datagram_payload: bytes, source_mac: bytes, source_ip: bytes, now: float) -> Answer | None:
        """One message from the card `source_mac`, sent from `source_ip` (0.0.0.0 while it has none)."""
        try:
            message = parse(datagram_payload)
            _check(message, source_mac)
            settings = self._settings()
            if settings is None:
                raise Dropped("dhcp.nothing_to_lease")
            kind = message.options.get(wire.KIND)
            handler = self._bootp if kind is None else self._handlers.get(kind[0])
            if handler is None:
                raise Dropped("dhcp.kind")
            return handler(message, settings, source_ip, now)
        except Dropped as reason:
            self._count[reason.what] += 1
            return None

    def _key(self, message: Message, address: bytes | None, now: float) -> str:
        """What the client was given under its card's address stays there, even if it says a client identifier now: a
        boot ROM asked, or the identifier was another card's for a while."""
        own = mac_key(message.mac)
        if address is not None and self._leases.holder(address) == own:
            return own
        return self._clients.key(message.mac, message.options.get(wire.CLIENT_ID), now)

    # RFC 2131 section 4.3

    def _discover(self, message: Message, settings: Settings, _: bytes, now: float) -> Answer:
        wanted = _given(message.options.get(wire.REQUESTED))
        key = self._key(message, wanted, now)
        address = self._leases.wish(key, wanted, now)
        if address is None:
            raise Dropped("dhcp.none_free")
        return offer(message, settings, address, key)

    def _request(self, message: Message, settings: Settings, _: bytes, now: float) -> Answer:
        """Selecting (server identifier), after a reboot (requested address), renewing and rebinding (ciaddr)."""
        _check_server(message, settings)
        renewed = _given(message.ciaddr)
        address = renewed or _given(message.options.get(wire.REQUESTED))
        if address is None:
            raise Dropped("dhcp.no_address")
        key = self._key(message, address, now)
        name = _name(message)
        if not self._leases.bind(key, address, now):
            self._count["dhcp.nak"] += 1
            said = f"{name} asked for {dotted(address)}, which it cannot have, and was told to ask anew"
            return refuse(message, settings, key, said)
        self._clients.bound(message.mac, message.options.get(wire.CLIENT_ID), now + settings.lease)
        return acknowledge(message, settings, address, key, "" if renewed else f"{name} has leased {dotted(address)}")

    def _decline(self, message: Message, settings: Settings, _: bytes, now: float) -> Answer:
        _check_server(message, settings)
        address = _given(message.options.get(wire.REQUESTED))
        if address is None:
            raise Dropped("dhcp.no_address")
        key = self._own_key(message, address, now)
        self._leases.decline(key, address, now)
        said = f"{_name(message)} found {dotted(address)} in use by somebody else; it is not given out for a while"
        return nothing(message, key, said)

    def _release(self, message: Message, settings: Settings, _: bytes, now: float) -> Answer:
        _check_server(message, settings)
        key = self._own_key(message, message.ciaddr, now)
        self._leases.release(key, message.ciaddr, now)
        if key != mac_key(message.mac):  # or what the client has by its identifier is still its own
            self._clients.released(message.mac, message.options.get(wire.CLIENT_ID))
        return nothing(message, key, f"{_name(message)} has given {dotted(message.ciaddr)} back")

    def _own_key(self, message: Message, address: bytes, now: float) -> str:
        key = self._key(message, address, now)
        if self._leases.holder(address) != key:
            raise Dropped("dhcp.not_its_own")
        return key

    def _inform(self, message: Message, settings: Settings, source_ip: bytes, now: float) -> Answer:
        """It has an address and wants to know the rest (RFC 2131 section 4.3.5): nothing is leased."""
        address = _given(message.ciaddr) or _given(source_ip)
        if address is None or not _is_unicast(address):
            raise Dropped("dhcp.no_address")
        return inform(message, settings, address, self._key(message, address, now))

    def _bootp(self, message: Message, settings: Settings, _: bytes, now: float) -> Answer:
        """RFC 951: a message without a kind, whose client keeps the address for as long as it runs.  One that knows
        its address (ciaddr) gets the rest only."""
        if message.length < wire.BOOTP_LEAST:
            raise Dropped("dhcp.short")
        key = mac_key(message.mac)
        if message.ciaddr != NO_ADDRESS:
            return bootp(message, settings, None, key, "")
        address = self._leases.wish(key, None, now)
        if address is None or not self._leases.bind(key, address, now):
            raise Dropped("dhcp.none_free")
        return bootp(message, settings, address, key, f"{_name(message)} has got {dotted(address)} by BOOTP")


def _check(message: Message, source_mac: bytes) -> None:
    """A relay agent (giaddr) cannot be on this segment.  A card speaks for itself only, lest one guest empties the
    pool.  Raises Dropped."""
    if message.giaddr != NO_ADDRESS:
        raise Dropped("dhcp.giaddr")
    if message.mac != source_mac or is_group(message.mac) or message.mac == NOBODY:
        raise Dropped("dhcp.chaddr")
    if message.ciaddr != NO_ADDRESS and not _is_unicast(message.ciaddr):
        raise Dropped("dhcp.ciaddr")


def _check_server(message: Message, settings: Settings) -> None:
    """The client may have chosen another server; without a server identifier it means whoever knows it."""
    if message.options.get(wire.SERVER, settings.server) != settings.server:
        raise Dropped("dhcp.other_server")


def _is_unicast(address: bytes) -> bool:
    return 0 < address[0] < 224 and address[0] != 127


def _given(address: bytes | None) -> bytes | None:
    """0.0.0.0 is as good as none: some clients fill the field in anyway."""
    return None if address == NO_ADDRESS else address


def _name(message: Message) -> str:
    """The client as people know it, with the host name that it gives itself, if that can be printed."""
    name = message.options.get(wire.HOST_NAME, b"").rstrip(b"\0").decode("ascii", "replace")  # Windows 95 sends the NUL
    decent = 0 < len(name) <= NAME_MOST and all(each.isascii() and (each.isalnum() or each in "-._") for each in name)
    return f"{mac_text(message.mac)} ({name})" if decent else mac_text(message.mac)
