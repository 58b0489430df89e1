"""Under which name the lease of a DHCP client is kept: its client identifier, or the address of its card.

In: the card's address and option 61, as they came.  Out: a key, "ether 52:54:00:12:34:56" or "ether 00020000ab11...".
A client identifier is only said, never proved (and virtual machines that were copied say the same one), while a card's
address was checked by the segment.  So an identifier belongs to the card that used it first, for as long as its lease
lives; another card that says the same meanwhile goes by its own address.  RFC 2131 section 4.2, RFC 4361 section 4.
"""

import math
from typing import Final

from pppgate.ether.frame import mac_key

CLAIM: Final = 60.0
"""Seconds for which an identifier belongs to a card that has only asked."""
IDS_MOST: Final = 1024
"""Identifiers remembered; beyond, clients go by the address of their card."""
IDS_PER_MAC: Final = 4
"""One card may say several: what boots it, one system and another, containers that share it.  Beyond, its address."""
_ID_LEAST: Final = 2
"""Octets (RFC 2132 section 9.14): a type and at least one more."""
_ID_MOST: Final = 255


class Clients:
    def __init__(self) -> None:
        self._owner: dict[bytes, tuple[bytes, float]] = {}  # identifier -> card, until when
        self._soonest = math.inf  # no entry ends before

    def key(self, mac: bytes, client_id: bytes | None, now: float) -> str:
        """The same for the same client, as long as it has a lease or asks once in a minute."""
        if client_id is None or not _ID_LEAST <= len(client_id) <= _ID_MOST or client_id == b"\x01" + mac:
            return mac_key(mac)
        self._expire(now)
        owner, until = self._owner.get(client_id, (None, now))
        if owner is None and not self._room(mac) or owner is not None and owner != mac:
            return mac_key(mac)
        self._set(client_id, mac, max(until, now + CLAIM))
        return f"ether {client_id.hex()}"

    def bound(self, mac: bytes, client_id: bytes | None, until: float) -> None:
        """The client has a lease; it counts a minute longer, since the client's clock may be slow."""
        if client_id is not None and self._owner.get(client_id, (None, 0.0))[0] == mac:
            self._set(client_id, mac, until + CLAIM)

    def released(self, mac: bytes, client_id: bytes | None) -> None:
        """It has given its lease back: the identifier may come from another card."""
        if client_id is not None and self._owner.get(client_id, (None, 0.0))[0] == mac:
            del self._owner[client_id]

    def __len__(self) -> int:
        return len(self._owner)

    def _set(self, client_id: bytes, mac: bytes, until: float) -> None:
        self._owner[client_id] = (mac, until)
        self._soonest = min(self._soonest, until)

    def _room(self, mac: bytes) -> bool:
        if len(self._owner) >= IDS_MOST:
            return False
        return sum(owner == mac for owner, _ in self._owner.values()) < IDS_PER_MAC

    def _expire(self, now: float) -> None:
        if now >= self._soonest:
            self._owner = {each: owned for each, owned in self._owner.items() if owned[1] > now}
            self._soonest = min((until for _, until in self._owner.values()), default=math.inf)
