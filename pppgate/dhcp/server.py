"""A DHCP server for one segment, which answers BOOTP too: sans-I/O, one message in, at most one out.

In: the payload of a datagram to UDP port 67, and who sent it.  Out: an Answer to be sent from port 67 to port 68, by a
callback, since the leases may take their time.  Who has which address is asked of Leases, what else a guest should know
is asked of `settings` each time; it knows neither sockets nor frames nor where its addresses come from.

It is the only server of its segment and says so ("authoritative"): a request for an address that cannot be had is
refused at once, in whatever state the client is, so that it asks anew instead of waiting for a time-out.

RFC 2131, 2132, 3396, 6842; BOOTP: RFC 951, 1497, 1542.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from nat.wire.ipv4 import dotted
from pppgate.dhcp import message as wire
from pppgate.dhcp.clients import Clients
from pppgate.dhcp.message import Message, parse
from pppgate.dhcp.reply import (
    DECLINE,
    DISCOVER,
    INFORM,
    NO_ADDRESS,
    RELEASE,
    REQUEST,
    Settings,
    acknowledge,
    bootp,
    inform,
    nothing,
    offer,
    refuse,
)
from pppgate.ether.dhcp_service import Reply
from pppgate.ether.frame import NOBODY, is_group, mac_key, mac_text

__all__ = ["DhcpServer", "Leases", "Settings"]

NAME_MOST: Final = 32
"""Letters of a host name that are repeated to people."""
WAITING_MOST: Final = 256
"""Clients about which the leases have been asked and have not answered."""


class Leases(Protocol):
    """Who has which address.  `key` is any name that stays with a client.

    What is asked with an `answer` is answered by one call of it, at once or later: who decides may be elsewhere.
    """

    def lease(self, key: str, wanted: bytes | None, now: float, answer: Callable[[bytes | None, float], None]) -> None:
        """The address that `key` would get, held for it a while; asked again it is the same.  None: none is free."""

    def claim(self, key: str, address: bytes, now: float, answer: Callable[[bool, float], None]) -> None:
        """May `key` have exactly this one?  True: it is its own for the lease, counted from then."""

    def release(self, key: str, address: bytes, now: float) -> None:
        """`key` gives the address back, if it is its own."""

    def decline(self, key: str, address: bytes, now: float) -> None:
        """Somebody else answers for the address that `key` was given: keep it out of use for a while."""

    def holder(self, address: bytes) -> str | None:
        """The key that has the address."""


class _Asked(NamedTuple):
    """A message that is being answered."""

    message: Message
    settings: Settings
    source: bytes
    """The IPv4 address that it was sent from."""
    reply: Reply


class DhcpServer:
    """`settings`: None when nothing can be leased now; the server is silent then.  `count`: what was dropped."""

    def __init__(self, leases: Leases, settings: Callable[[], Settings | None], count: Counter[str]) -> None:
        self._leases = leases
        self._settings = settings
        self._count = count
        self._clients = Clients()
        self._waiting: dict[bytes, Message] = {}  # by card: what the leases have not answered yet
        self._handlers: dict[int, Callable[[_Asked, float], None]] = {
            DISCOVER: self._discover,
            REQUEST: self._request,
            DECLINE: self._decline,
            RELEASE: self._release,
            INFORM: self._inform,
        }

    def receive(self, datagram_payload: bytes, source_mac: bytes, source_ip: bytes, now: float, reply: Reply) -> None:
        """One message from the card `source_mac`, sent from `source_ip` (0.0.0.0 while it has none).  `reply` is called
        once at the most: as soon as the leases have answered."""
        message = parse(datagram_payload, self._count)
        if message is None or not self._is_sound(message, source_mac):
            return
        settings = self._settings()
        if settings is None:
            self._count["dhcp.nothing_to_lease"] += 1
            return
        kind = message.options.get(wire.KIND)
        handler = self._bootp if kind is None else self._handlers.get(kind[0])
        if handler is None:
            self._count["dhcp.kind"] += 1
            return
        handler(_Asked(message, settings, source_ip, reply), now)

    def _key(self, message: Message, address: bytes | None, now: float) -> str:
        """What the client was given under its card's address stays there, even if it says a client identifier now: a
        boot ROM asked, or the identifier was another card's for a while."""
        own = mac_key(message.mac)
        if address is not None and self._leases.holder(address) == own:
            return own
        return self._clients.key(message.mac, message.options.get(wire.CLIENT_ID), now)

    # Questions that are answered later

    def _lease(self, asked: _Asked, key: str, wanted: bytes | None, now: float, then: _Leased) -> None:
        """Ask for an address; `then` is called with one, if the client still waits for it."""
        message = asked.message
        if not self._wait(message):
            return

        def answer(address: bytes | None, now: float) -> None:
            if not self._waits_no_more(message):
                return
            if address is None:
                self._count["dhcp.none_free"] += 1
            else:
                then(asked, key, address, now)

        self._leases.lease(key, wanted, now, answer)

    def _claim(self, asked: _Asked, key: str, address: bytes, now: float, then: _Claimed) -> None:
        """Ask for that address; `then` is called with the answer, if the client still waits for it."""
        message = asked.message
        if not self._wait(message):
            return

        def answer(given: bool, now: float) -> None:
            if self._waits_no_more(message):
                then(asked, key, address, given, now)

        self._leases.claim(key, address, now, answer)

    def _wait(self, message: Message) -> bool:
        """False, and counted: the client repeats itself, or too many wait.  Another message of a client takes the place
        of the one before."""
        before = self._waiting.get(message.mac)
        if before is None and len(self._waiting) >= WAITING_MOST:
            self._count["dhcp.too_many"] += 1
            return False
        kind = message.options.get(wire.KIND)
        if before is not None and (before.xid, before.options.get(wire.KIND)) == (message.xid, kind):
            self._count["dhcp.repeated"] += 1
            return False
        self._waiting[message.mac] = message
        return True

    def _waits_no_more(self, message: Message) -> bool:
        """The leases have answered.  False: the client has asked something else since."""
        if self._waiting.get(message.mac) is not message:
            return False
        del self._waiting[message.mac]
        return True

    # RFC 2131 section 4.3

    def _discover(self, asked: _Asked, now: float) -> None:
        wanted = _given(asked.message.options.get(wire.REQUESTED))
        self._lease(asked, self._key(asked.message, wanted, now), wanted, now, self._offer)

    def _offer(self, asked: _Asked, key: str, address: bytes, now: float) -> None:
        asked.reply(offer(asked.message, asked.settings, address, key), now)

    def _request(self, asked: _Asked, now: float) -> None:
        """Selecting (server identifier), after a reboot (requested address), renewing and rebinding (ciaddr)."""
        message = asked.message
        if not self._is_for_us(message, asked.settings):
            return
        address = _given(message.ciaddr) or _given(message.options.get(wire.REQUESTED))
        if address is None:
            self._count["dhcp.no_address"] += 1
            return
        self._claim(asked, self._key(message, address, now), address, now, self._acknowledge)

    def _acknowledge(self, asked: _Asked, key: str, address: bytes, given: bool, now: float) -> None:
        message, settings = asked.message, asked.settings
        name = _name(message)
        if not given:
            self._count["dhcp.nak"] += 1
            said = f"{name} asked for {dotted(address)}, which it cannot have, and was told to ask anew"
            asked.reply(refuse(message, settings, key, said), now)
            return
        self._clients.bound(message.mac, message.options.get(wire.CLIENT_ID), now + settings.lease)
        said = "" if _given(message.ciaddr) else f"{name} has leased {dotted(address)}"
        asked.reply(acknowledge(message, settings, address, key, said), now)

    def _decline(self, asked: _Asked, now: float) -> None:
        message = asked.message
        if not self._is_for_us(message, asked.settings):
            return
        address = _given(message.options.get(wire.REQUESTED))
        if address is None:
            self._count["dhcp.no_address"] += 1
            return
        key = self._own_key(message, address, now)
        if key is None:
            return
        self._leases.decline(key, address, now)
        said = f"{_name(message)} found {dotted(address)} in use by somebody else; it is not given out for a while"
        asked.reply(nothing(message, key, said), now)

    def _release(self, asked: _Asked, now: float) -> None:
        message = asked.message
        if not self._is_for_us(message, asked.settings):
            return
        key = self._own_key(message, message.ciaddr, now)
        if key is None:
            return
        self._leases.release(key, message.ciaddr, now)
        if key != mac_key(message.mac):  # or what the client has by its identifier is still its own
            self._clients.released(message.mac, message.options.get(wire.CLIENT_ID))
        asked.reply(nothing(message, key, f"{_name(message)} has given {dotted(message.ciaddr)} back"), now)

    def _own_key(self, message: Message, address: bytes, now: float) -> str | None:
        """None, and counted: the address is not the client's."""
        key = self._key(message, address, now)
        if self._leases.holder(address) == key:
            return key
        self._count["dhcp.not_its_own"] += 1
        return None

    def _inform(self, asked: _Asked, now: float) -> None:
        """It has an address and wants to know the rest (RFC 2131 section 4.3.5): nothing is leased."""
        message = asked.message
        address = _given(message.ciaddr) or _given(asked.source)
        if address is None or not _is_unicast(address):
            self._count["dhcp.no_address"] += 1
            return
        asked.reply(inform(message, asked.settings, address, self._key(message, address, now)), now)

    def _bootp(self, asked: _Asked, now: float) -> None:
        """RFC 951: a message without a kind, whose client keeps the address for as long as it runs.  One that knows
        its address (ciaddr) gets the rest only."""
        message = asked.message
        if message.length < wire.BOOTP_LEAST:
            self._count["dhcp.short"] += 1
            return
        key = mac_key(message.mac)
        if message.ciaddr != NO_ADDRESS:
            asked.reply(bootp(message, asked.settings, None, key, ""), now)
        else:
            self._lease(asked, key, None, now, self._bootp_leased)

    def _bootp_leased(self, asked: _Asked, key: str, address: bytes, now: float) -> None:
        self._claim(asked, key, address, now, self._bootp_claimed)

    def _bootp_claimed(self, asked: _Asked, key: str, address: bytes, given: bool, now: float) -> None:
        if not given:
            self._count["dhcp.none_free"] += 1
            return
        said = f"{_name(asked.message)} has got {dotted(address)} by BOOTP"
        asked.reply(bootp(asked.message, asked.settings, address, key, said), now)

    # What is checked

    def _is_sound(self, message: Message, source_mac: bytes) -> bool:
        """A relay agent (giaddr) cannot be on this segment.  A card speaks for itself only, lest one guest empties the
        pool."""
        if message.giaddr != NO_ADDRESS:
            self._count["dhcp.giaddr"] += 1
        elif message.mac != source_mac or is_group(message.mac) or message.mac == NOBODY:
            self._count["dhcp.chaddr"] += 1
        elif message.ciaddr != NO_ADDRESS and not _is_unicast(message.ciaddr):
            self._count["dhcp.ciaddr"] += 1
        else:
            return True
        return False

    def _is_for_us(self, message: Message, settings: Settings) -> bool:
        """The client may have chosen another server; without a server identifier it means whoever knows it."""
        if message.options.get(wire.SERVER, settings.server) == settings.server:
            return True
        self._count["dhcp.other_server"] += 1
        return False


_Leased = Callable[[_Asked, str, bytes, float], None]
_Claimed = Callable[[_Asked, str, bytes, bool, float], None]


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
