"""A relay for DNS at an address of the gateway: the guest's queries go to the host's own resolvers (RFC 5625).

In: UDP packets from guests to that address.  Out: the resolvers' answers.  Their id becomes
the guest's own, and one that is longer than the guest said it takes is cut and marked so; nothing else is changed.  Of
a message it reads the header and the question, nothing else, and never follows a compression pointer: a question has
no use for one.

Against forged answers (RFC 5452 section 9): each query upstream has a fresh socket with a random port and a random
id, hears nobody but its resolver, and wants the whole question back; the same query of a guest is never
outstanding twice.
"""

import math
from collections.abc import Callable
from functools import partial
from random import Random
from socket import inet_pton, socket
from struct import Struct
from typing import Final, Protocol

from nat.context import Context
from nat.fragment import deliver
from nat.host import Resolver
from nat.icmp import ErrorSender
from nat.line import Line
from nat.rules import Action, Direction, Question
from nat.wire.ipv4 import UDP
from nat.wire.udp import DATAGRAM_MOST, build_udp, parse

PORT: Final = 53
# RFC 1035 section 4.1.1: id, flags, and the numbers of entries in the four sections.
HEADER: Final = Struct("!HHHHHH")
_ID: Final = slice(0, 2)
_FLAGS: Final = slice(2, 4)
_QUESTIONS: Final = slice(4, 6)
_OTHERS: Final = slice(6, 12)  # the numbers of entries in the other sections
_AFTER_ID: Final = slice(2, None)
_ONE: Final = b"\0\1"
_QR_OPCODE: Final = 0xF800
_QR: Final = 0x8000
_TC: Final = 0x0200
_RA: Final = 0x0080
_OPCODE_AND_RD: Final = 0x7900
_SERVFAIL: Final = 2
_LABEL_MOST: Final = 63  # RFC 1035 section 2.3.4
_NAME_MOST: Final = 255
_OPT: Final = b"\0\0\x29"  # the root name and type 41 (RFC 6891 section 6.1.2), before the payload size
_OPT_ROOM: Final = slice(3, 5)
_PLAIN_LIMIT: Final = 512  # RFC 1035 section 4.2.1

PENDING_MOST: Final = 256  # queries upstream at the same time, for the whole network
WAITING_MOST: Final = 16  # askers of one of them
TRIES: Final = 3
RETRY: Final = 1.5  # seconds until the next resolver is asked; SERVFAIL after TRIES of them, before a guest's own 5 s
BATCH: Final = 8  # datagrams read in one wake-up


def question_end(message: bytes) -> int:
    """Where the question section ends, for a message with one question; 0 if it is not sound."""
    position = HEADER.size
    limit = min(len(message), HEADER.size + _NAME_MOST)
    while position < limit:
        length = message[position]
        position += 1
        if length == 0:
            position += 4  # QTYPE and QCLASS
            return position if position <= len(message) else 0
        if length > _LABEL_MOST:
            return 0
        position += length
    return 0


def reply_limit(query: bytes, end: int) -> int:
    """How long a reply the asker takes over UDP: what its OPT record says (RFC 6891 section 6.2.3), or 512."""
    if query[_OTHERS] == bytes(6):
        return _PLAIN_LIMIT
    additional = query[end:]
    if additional.startswith(_OPT) and len(additional) >= _OPT_ROOM.stop:
        return max(_PLAIN_LIMIT, int.from_bytes(additional[_OPT_ROOM], "big"))
    return DATAGRAM_MOST  # something else comes first: the resolver has read it, and decides


def _flags(message: bytes) -> int:
    return int.from_bytes(message[_FLAGS], "big")


class _Pending:
    """One query upstream and all who wait for its answer."""

    __slots__ = ("dns", "key", "line", "query", "end", "waiting", "tries", "sock", "wire_id", "deadline", "queued")

    def __init__(self, dns: "Dns", key: tuple[bytes, bytes], line: Line, query: bytes, end: int) -> None:
        self.dns = dns
        self.key = key
        self.line = line
        self.query = query
        self.end = end
        self.waiting: dict[tuple[int, bytes], None] = {}  # source port and id
        self.tries = 0
        self.sock: socket | None = None
        self.wire_id = b""
        self.deadline = math.inf
        self.queued = math.inf

    def tick(self, now: float) -> None:
        self.dns.count["dns.timeout"] += 1
        self.dns.ask(self, now)

    def on_read(self, now: float) -> None:
        for _ in range(BATCH):
            if self.sock is None:
                return
            try:
                reply = self.sock.recv(DATAGRAM_MOST)
            except BlockingIOError:
                return
            except OSError:  # nobody listens there (ECONNREFUSED), or no way leads there
                self.dns.count["dns.resolver_failed"] += 1
                self.dns.ask(self, now)
                return
            if self.answers(reply):
                self.dns.finish(self, reply)
                return
            self.dns.count["dns.forged"] += 1

    def answers(self, reply: bytes) -> bool:
        """Whether it is a response to this query: id, QR, opcode and the whole question."""
        query, end = self.query, self.end
        return (
            len(reply) >= end
            and reply[_ID] == self.wire_id
            and (_flags(reply) ^ _flags(query)) & _QR_OPCODE == _QR
            and reply[_QUESTIONS] == query[_QUESTIONS]
            and reply[HEADER.size : end].lower() == query[HEADER.size : end].lower()  # RFC 4343: whatever the case
        )


class Names(Protocol):
    """Who knows names that are asked for before any resolver is."""

    def resolve(self, query: bytes, now: float, answer: Callable[[bytes | None, float], None]) -> None:
        """`answer` is called once, at once or later: with a whole response, whatever its id; None: ask the resolvers.
        They are asked after RETRY seconds in any case."""


class NoNames:
    def resolve(self, query: bytes, now: float, answer: Callable[[bytes | None, float], None]) -> None:
        answer(None, now)


class Dns:
    """The relay at `address` for all guests of one network."""

    def __init__(self, context: Context, address: bytes, names: Names | None = None) -> None:
        self.address = address
        self._names = names or NoNames()
        self.count = context.count
        self._rules = context.rules
        self._network = context.network
        self._deadlines = context.deadlines
        self._host = context.host
        self._random: Random = context.random
        self._pending: dict[tuple[bytes, bytes], _Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def receive(self, line: Line, errors: ErrorSender, packet: bytes, hlen: int, now: float) -> None:
        """A UDP packet from a guest to `address` port 53.  The rules are asked about each query that is not
        outstanding."""
        parsed = parse(packet, hlen, self.count)
        if parsed is None:
            return
        port, _, query = parsed
        end = question_end(query) if len(query) >= HEADER.size else 0
        if not end or _flags(query) & _QR or query[_QUESTIONS] != _ONE:
            self.count["dns.malformed"] += 1
            return
        self.count["dns.queries"] += 1
        key = (line.address, query[_AFTER_ID])
        asker = (port, query[_ID])
        pending = self._pending.get(key)
        if pending is not None:
            self.count["dns.coalesced"] += 1
            if len(pending.waiting) < WAITING_MOST:
                pending.waiting[asker] = None
            return
        question = Question(line.address, self._network, Direction.OUT, UDP, self.address, PORT)
        verdict = self._rules.decide(question)
        if verdict.action is not Action.ALLOW:
            errors.deny(question, verdict, packet, hlen, now)
            return
        pending = _Pending(self, key, line, query, end)
        pending.waiting[asker] = None
        if len(self._pending) >= PENDING_MOST:
            self.count["dns.too_many"] += 1
            self._fail(pending)
            return
        self._pending[key] = pending
        self._deadlines.arm(pending, now + RETRY)
        self._names.resolve(query, now, partial(self._named, pending))

    def _named(self, pending: _Pending, response: bytes | None, now: float) -> None:
        """What those who know names say; too late once a resolver has been asked."""
        if pending.tries or self._pending.get(pending.key) is not pending:
            return
        if response is None:
            self.ask(pending, now)
        else:
            self.finish(pending, response)

    def tcp_upstream(self) -> tuple[bytes, int] | None:
        """Where a guest's TCP connection to `address` port 53 leads: the first resolver; None if there is none."""
        for family, address, port in self._host.resolvers():
            if "%" not in address:
                return inet_pton(family, address), port
        return None

    def close(self, now: float) -> None:
        for pending in list(self._pending.values()):
            self._remove(pending)

    def ask(self, pending: _Pending, now: float) -> None:
        """Send the query to the next resolver, or give up."""
        self._let_go(pending)
        resolvers = self._host.resolvers()
        while resolvers and pending.tries < TRIES:
            resolver = resolvers[pending.tries % len(resolvers)]
            pending.tries += 1
            if self._ask_one(pending, resolver):
                self._deadlines.arm(pending, now + RETRY)
                return
        self.count["dns.unanswered"] += 1
        self._remove(pending)
        self._fail(pending)

    def finish(self, pending: _Pending, reply: bytes) -> None:
        """The answer: to everyone who waits for it."""
        self._remove(pending)
        self.count["dns.answered"] += 1
        if len(reply) > reply_limit(pending.query, pending.end):
            self.count["dns.truncated"] += 1
            flags = _flags(reply) | _TC
            head = HEADER.pack(0, flags, 1, 0, 0, 0)
            reply = head + reply[HEADER.size : pending.end]
        self._tell(pending, reply)

    def _ask_one(self, pending: _Pending, resolver: Resolver) -> bool:
        try:
            sock = self._host.connect_udp(resolver)
        except OSError:
            self.count["dns.no_socket"] += 1
            return False
        pending.wire_id = self._random.randbytes(2)
        try:
            sock.send(pending.wire_id + pending.query[_AFTER_ID])
        except OSError:
            self.count["dns.resolver_failed"] += 1
            sock.close()
            return False
        pending.sock = sock
        self._host.watch_read(sock.fileno(), pending.on_read)
        return True

    def _fail(self, pending: _Pending) -> None:
        flags = _QR | _RA | _flags(pending.query) & _OPCODE_AND_RD | _SERVFAIL
        self._tell(pending, HEADER.pack(0, flags, 1, 0, 0, 0) + pending.query[HEADER.size : pending.end])

    def _tell(self, pending: _Pending, reply: bytes) -> None:
        line = pending.line
        for port, query_id in pending.waiting:
            packet = build_udp(
                self.address,
                PORT,
                line.address,
                port,
                query_id + reply[_AFTER_ID],
                identification=self._random.getrandbits(16),
            )
            deliver(line, packet, ("dns", port))

    def _remove(self, pending: _Pending) -> None:
        self._let_go(pending)
        self._pending.pop(pending.key, None)

    def _let_go(self, pending: _Pending) -> None:
        self._deadlines.arm(pending, math.inf)
        sock = pending.sock
        if sock is not None:
            pending.sock = None
            self._host.unwatch_read(sock.fileno())
            sock.close()
