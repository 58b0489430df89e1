"""DHCP for the one address of a bridge: whichever card asks first gets it, by whatever name it asks.

In: DHCP messages of the segment.  Out: answers, and a wish for the link where there is no address to give yet.
The address belongs to a card's MAC address and not to a client identifier: a boot ROM and the system that it loads say
different ones, and there is no second address for the latter.
"""

from collections import Counter
from collections.abc import Callable

from pppgate.dhcp.server import DhcpServer, Settings
from pppgate.eoppp.bridge import Bridge
from pppgate.ether.dhcp_service import Reply
from pppgate.ether.frame import mac_key


class BridgeDhcp:
    """A DhcpService, and the Leases of the server behind it.

    It answers at once: `_asking` holds only within `receive`.
    """

    def __init__(self, bridge: Bridge, count: Counter[str]) -> None:
        self._bridge = bridge
        self._count = count
        self._server = DhcpServer(self, self._settings, count)
        self._asking = ""  # the key of the card whose message is being answered

    def receive(self, payload: bytes, source_mac: bytes, source: bytes, now: float, reply: Reply) -> None:
        """A guest that asks before there is an address wants the link; it asks again by itself."""
        if self._bridge.agreed is None:
            self._bridge.calls.wake(now)
        self._asking = mac_key(source_mac)
        self._server.receive(payload, source_mac, source, now, reply)

    def _settings(self) -> Settings | None:
        return self._bridge.settings

    # dhcp.Leases

    def lease(self, key: str, wanted: bytes | None, now: float, answer: Callable[[bytes | None, float], None]) -> None:
        answer(self._free(now), now)

    def claim(self, key: str, address: bytes, now: float, answer: Callable[[bool, float], None]) -> None:
        given = self._free(now) == address
        if given:
            self._bridge.lend(self._asking, now)
        answer(given, now)

    def _free(self, now: float) -> bytes | None:
        """The one address, if the card that asks may have it."""
        agreed = self._bridge.agreed
        return agreed.local if agreed is not None and self._bridge.is_free(self._asking, now) else None

    def release(self, key: str, address: bytes, now: float) -> None:
        agreed = self._bridge.agreed
        if agreed is not None and address == agreed.local:
            self._bridge.take_back(self._asking)

    def decline(self, key: str, address: bytes, now: float) -> None:
        """Somebody else answers for it, but there is no other to give."""
        self._count["bridge.declined"] += 1
        self.release(key, address, now)

    def holder(self, address: bytes) -> str | None:
        return self._bridge.holder(address)
