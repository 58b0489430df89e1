"""The addresses of one network, lent to guests.

In: who asks (any name the caller chooses: the link's) and perhaps a wish. Out: four octets, or None when
the network is full. Knows nothing of links; a key that redials gets its address back unless it had to be
given to somebody else meanwhile.
"""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Network

PAST_MOST = 1024
"""Keys whose last address is remembered; in a large network guests that keep changing theirs would fill the memory."""


class Pool:
    """`taken`: addresses that are nobody's to have (the gateway, the name server)."""

    def __init__(self, net: IPv4Network, taken: Iterable[bytes], first_guest: bytes) -> None:
        self.net = net
        self.short: Callable[[], bool] = lambda: False
        """Asked when no address is free: True if one has been released."""
        self._taken = frozenset(taken)
        self._lowest = int(net.network_address) + (net.prefixlen < 31)
        self._highest = int(net.broadcast_address) - (net.prefixlen < 31)
        self._first = int.from_bytes(first_guest, "big")
        self._span = self._highest - self._lowest + 1
        reserved = sum(self._lowest <= int.from_bytes(each, "big") <= self._highest for each in self._taken)
        self._most = self._span - reserved
        self._holder: dict[bytes, str] = {}  # address -> key, in use now
        self._held: dict[str, bytes] = {}
        self._past: dict[str, bytes] = {}  # key -> its last address, oldest first

    def lease(self, key: str, wanted: bytes | None = None) -> bytes | None:
        """The address for `key`: its own again, or `wanted` if that is in the network and free.

        A wish replaces what the key holds; without one a key keeps it. A wish that cannot be granted is as
        none.
        """
        held = self._held.get(key)
        if wanted is not None and wanted != held and self.is_free(wanted):
            return self._give(key, wanted)
        if held is not None:
            return held
        past = self._past.get(key)
        if past is not None and self.is_free(past):
            return self._give(key, past)
        chosen = self._choose()
        while chosen is None and self.short():
            chosen = self._choose()
        return None if chosen is None else self._give(key, chosen)

    def release(self, key: str) -> None:
        """`key` has hung up. Its address is the last to be given to somebody else."""
        address = self._held.pop(key, None)
        if address is not None:
            del self._holder[address]
            self._past.pop(key, None)
            self._past[key] = address
            if len(self._past) > PAST_MOST:
                del self._past[next(iter(self._past))]

    def holder(self, address: bytes) -> str | None:
        return self._holder.get(address)

    def _give(self, key: str, address: bytes) -> bytes:
        held = self._held.pop(key, None)
        if held is not None:
            del self._holder[held]
        self._past.pop(key, None)
        for other in [other for other, past in self._past.items() if past == address]:
            del self._past[other]
        self._held[key] = address
        self._holder[address] = key
        return address

    def is_free(self, address: bytes) -> bool:
        """Whether it may be lent now: it is a host's in this network, and nobody has it."""
        number = int.from_bytes(address, "big")
        usable = len(address) == 4 and self._lowest <= number <= self._highest
        return usable and address not in self._taken and address not in self._holder

    def _choose(self) -> bytes | None:
        """The first address from `first_guest` on that nobody remembers, else the longest forgotten."""
        if len(self._holder) >= self._most:
            return None
        remembered = set(self._past.values())
        span = self._span
        start = max(self._first - self._lowest, 0)
        # among this many addresses at least one is unknown to all three sets, if the network has so many
        tries = min(span, len(self._taken) + len(self._holder) + len(remembered) + 1)
        for i in range(tries):
            address = (self._lowest + (start + i) % span).to_bytes(4, "big")
            if self.is_free(address) and address not in remembered:
                return address
        return next((address for address in self._past.values() if self.is_free(address)), None)
