"""Leases of addresses from the pool of the NAT: they run out, and an address that two hosts claim is left alone.

In: the wishes of a DHCP server (server.Leases), under keys, which are answered at once.  Out: addresses of an
ipcp.pool.Pool, which PPP guests get theirs from too, so that nobody shares.  It knows neither messages nor cards.

A client that comes back after its lease has run out, or after it gave it back, gets the same address while nobody else
needed it: the pool remembers.  An address that its own host is heard to use is not taken from it when its time is up:
BOOTP clients never renew, and some guests stand still for days.  One that nobody uses is, even before, when the pool
has no other left: a guest that makes up cards and leases for all of them must not keep the others out.
"""

import math
from collections.abc import Callable
from typing import Final

from ipcp.pool import Pool
from nat.deadlines import Deadlines
from nat.wire.ipv4 import dotted

HOLD: Final = 60.0
"""Seconds for which an offer stands."""
GRACE: Final = 60.0
"""Seconds for which a lease outlives its term: the guest's clock may be slow."""
ASIDE: Final = 600.0
"""Seconds for which an address is kept out of use that somebody answers for whom the pool does not know."""
DAY: Final = 86_400.0
KEYS_MOST: Final = 1024
"""Leases and offers at a time; beyond, the oldest offer makes room, then the oldest lease that nobody uses."""
ASIDE_MOST: Final = 64
"""Addresses kept out of use at a time, lest a guest that declines everything empties the pool."""


class PoolLeases:
    """`in_use(address, key)`: does a host use the address now that is not known as `key`?  ("": any host at all.)
    A host is known by the key of its last Answer and by that of its card.
    `deadlines` call `tick` when the next offer or lease ends: nothing would be late otherwise, but PPP guests might
    find the pool empty meanwhile.  `lease`: seconds, as the clients are told; math.inf forever."""

    def __init__(
        self, pool: Pool, in_use: Callable[[bytes, str], bool], deadlines: Deadlines, lease: float = DAY
    ) -> None:
        self.deadline = self.queued = math.inf
        self._deadlines = deadlines
        self._pool = pool
        pool.on_empty(self._give_one_up)
        self._in_use = in_use
        self._term = lease + GRACE
        # Address and until when, by key; and until when, by address.  All entries of a table last equally long, so that
        # the first to end is the first in it.
        self._offers: dict[str, tuple[bytes, float]] = {}
        self._bound: dict[str, tuple[bytes, float]] = {}
        self._aside: dict[bytes, float] = {}

    def wish(self, key: str, wanted: bytes | None, now: float) -> bytes | None:
        """What `key` has; else `wanted`, if that is in the network and free; else what it had last; else any."""
        self._end_due(now)
        self._forget_if_lost(key)
        if key in self._bound:
            address = self._bound[key][0]
            if not self._in_use(address, key):
                return address
            self._drop(key)  # or the client would be offered forever what it cannot have
            self._set_aside(address, now)
        if wanted is not None and self._in_use(wanted, key):
            wanted = None
        full = len(self) >= KEYS_MOST and key not in self._offers
        full = full and not self._withdraw() and not self._end_unused()
        found = None if full else self._find(key, wanted, now)
        self._offers.pop(key, None)
        if found is not None:
            self._offers[key] = (found, now + HOLD)
        self._arm()
        return found

    def bind(self, key: str, address: bytes, now: float) -> bool:
        """Where it cannot be, nothing is held and nothing in the pool's memory moves: anybody may try any address."""
        self._end_due(now)
        mine = self._pool.holder(address) == key
        if not (mine or self._pool.is_free(address)) or self._in_use(address, key):
            return False
        if self.wish(key, address, now) != address:
            if key in self._offers:
                self._drop(key)
            return False
        self._offers.pop(key, None)
        self._bound.pop(key, None)
        self._bound[key] = (address, now + self._term)
        self._arm()
        return True

    def lease(self, key: str, wanted: bytes | None, now: float, answer: Callable[[bytes | None, float], None]) -> None:
        answer(self.wish(key, wanted, now), now)

    def claim(self, key: str, address: bytes, now: float, answer: Callable[[bool, float], None]) -> None:
        answer(self.bind(key, address, now), now)

    def release(self, key: str, address: bytes, now: float) -> None:
        self.tick(now)
        if self._pool.holder(address) == key:
            self._drop(key)
        self._arm()

    def decline(self, key: str, address: bytes, now: float) -> None:
        self.tick(now)
        if self._pool.holder(address) == key:
            self._drop(key)
            self._set_aside(address, now)
        self._arm()

    def holder(self, address: bytes) -> str | None:
        return self._pool.holder(address)

    def status(self, now: float) -> dict[str, object]:
        """What it is, as plain data.  `left`: seconds; what has none lasts forever."""
        return {
            "offers": [_told(*each, now) for each in self._offers.items()],
            "leases": [_told(*each, now) for each in self._bound.items()],
            "aside": [dotted(address) for address in self._aside],
        }

    def __len__(self) -> int:
        return len(self._offers) + len(self._bound)

    def _arm(self) -> None:
        """Ask to be called when the next offer or lease ends."""
        firsts = [next(iter(table.values()))[1] for table in (self._offers, self._bound) if table]
        when = min([*firsts, *list(self._aside.values())[:1]], default=math.inf)
        if when != self.deadline:
            self._deadlines.arm(self, when)

    def tick(self, now: float) -> None:
        """End what has run out."""
        self._end_due(now)
        self._arm()

    def _end_due(self, now: float) -> None:
        for table, again in ((self._offers, HOLD), (self._bound, self._term)):
            while table:
                key, (address, until) = next(iter(table.items()))
                if until > now:
                    break
                del table[key]
                if self._pool.holder(address) != key:
                    continue
                if self._in_use(address, "") and not self._in_use(address, key):
                    table[key] = (address, now + again)
                else:
                    self._pool.release(key)
        while self._aside:
            address, until = next(iter(self._aside.items()))
            if until > now:
                break
            self._put_back(address)

    def _forget_if_lost(self, key: str) -> None:
        """The pool may have been told otherwise by somebody else."""
        for table in (self._offers, self._bound):
            if key in table and self._pool.holder(table[key][0]) != key:
                del table[key]

    def _drop(self, key: str) -> None:
        self._offers.pop(key, None)
        self._bound.pop(key, None)
        self._pool.release(key)

    def _find(self, key: str, wanted: bytes | None, now: float) -> bytes | None:
        """An address that the pool gives and nobody uses."""
        for _ in range(ASIDE_MOST):
            address = self._pool.lease(key, wanted)
            if address is None:
                return None
            if self._in_use(address, key):
                self._pool.release(key)
                self._set_aside(address, now)
            else:
                return address
        return None

    def _give_one_up(self) -> bool:
        """The pool is empty: the oldest offer is withdrawn, or the oldest lease ends whose address nobody uses, or the
        address that was set aside first comes back."""
        return self._withdraw() or self._end_unused() or self._put_back_first()

    def _withdraw(self) -> bool:
        """Take the oldest offer back: who was offered something gets another when it asks."""
        oldest = next(iter(self._offers), None)
        if oldest is None:
            return False
        self._drop(oldest)
        return True

    def _end_unused(self) -> bool:
        unused = next((key for key, (address, _) in self._bound.items() if not self._in_use(address, "")), None)
        if unused is None:
            return False
        self._drop(unused)
        return True

    def _set_aside(self, address: bytes, now: float) -> None:
        if len(self._aside) >= ASIDE_MOST:
            self._put_back_first()
        if self._pool.lease(_nobody(address), address) == address:
            self._aside[address] = now + ASIDE

    def _put_back_first(self) -> bool:
        if not self._aside:
            return False
        self._put_back(next(iter(self._aside)))
        return True

    def _put_back(self, address: bytes) -> None:
        del self._aside[address]
        self._pool.release(_nobody(address))


def _told(key: str, held: tuple[bytes, float], now: float) -> dict[str, object]:
    address, until = held
    told: dict[str, object] = {"key": key, "address": dotted(address)}
    return told if until == math.inf else {**told, "left": max(0.0, until - now)}


def _nobody(address: bytes) -> str:
    """The key under which the pool keeps an address that is set aside."""
    return f"ether, set aside: {dotted(address)}"
