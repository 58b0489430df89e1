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
        self._reclaimers: list[Callable[[], bool]] = []
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
        self._remembered: dict[bytes, str] = {}  # the same the other way round: an address has at most one such key
        self._start = max(self._first - self._lowest, 0)
        self._passed = 0  # so many addresses, counted from `first_guest` on, are held, remembered or taken

    def on_empty(self, reclaim: Callable[[], bool]) -> None:
        """`reclaim()` is asked when no address is free: True if it has released one."""
        self._reclaimers.append(reclaim)

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
        while chosen is None and any(reclaim() for reclaim in self._reclaimers):
            chosen = self._choose()
        return None if chosen is None else self._give(key, chosen)

    def release(self, key: str) -> None:
        """`key` has hung up. Its address is the last to be given to somebody else."""
        address = self._held.pop(key, None)
        if address is not None:
            del self._holder[address]
            self._forget(key)
            self._past[key] = address
            self._remembered[address] = key
            if len(self._past) > PAST_MOST:
                self._forget(next(iter(self._past)))

    def holder(self, address: bytes) -> str | None:
        return self._holder.get(address)

    def _give(self, key: str, address: bytes) -> bytes:
        held = self._held.pop(key, None)
        if held is not None:
            del self._holder[held]
            self._open_again(held)
        self._forget(key)
        other = self._remembered.get(address)
        if other is not None:
            self._forget(other)
        self._held[key] = address
        self._holder[address] = key
        return address

    def _forget(self, key: str) -> None:
        address = self._past.pop(key, None)
        if address is not None:
            del self._remembered[address]
            self._open_again(address)

    def _open_again(self, address: bytes) -> None:
        """An address that may be the first that nobody remembers."""
        self._passed = min(self._passed, (int.from_bytes(address, "big") - self._lowest - self._start) % self._span)

    def is_free(self, address: bytes) -> bool:
        """Whether it may be lent now: it is a host's in this network, and nobody has it."""
        number = int.from_bytes(address, "big")
        usable = len(address) == 4 and self._lowest <= number <= self._highest
        return usable and address not in self._taken and address not in self._holder

    def _choose(self) -> bytes | None:
        """The first address from `first_guest` on that nobody remembers, else the longest forgotten."""
        if len(self._holder) >= self._most:
            return None
        while self._passed < self._span:
            number = self._lowest + (self._start + self._passed) % self._span
            address = number.to_bytes(4, "big")
            if self.is_free(address) and address not in self._remembered:
                return address
            self._passed += 1
        return next(iter(self._remembered), None)
