"""A DHCP server with a pool for the tests, messages to put to it, and Scapy to read what it answers."""

from collections import Counter
from collections.abc import Iterable
from ipaddress import IPv4Network
from typing import Any, NamedTuple

from scapy.layers.dhcp import BOOTP, DHCP

from ipcp.pool import Pool
from nat.deadlines import Deadlines
from pppgate.dhcp.leases import PoolLeases
from pppgate.dhcp.server import DhcpServer, Settings
from pppgate.ether.dhcp_service import Answer

MAC = bytes.fromhex("525400123456")
OTHER_MAC = bytes.fromhex("525400abcdef")
NOWHERE = bytes(4)
COOKIE = bytes((99, 130, 83, 99))
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
BROADCAST = 0x8000
LEASE = 7200.0

Options = Iterable[tuple[int, bytes]]


def ip(last: int) -> bytes:
    return bytes((10, 0, 2, last))


GATEWAY, DNS, FIRST = ip(2), ip(3), ip(15)
USUAL = Settings(GATEWAY, 24, (GATEWAY,), (DNS,), 1500, LEASE)


def spell(options: Options) -> bytes:
    return b"".join(bytes((code, len(value))) + value for code, value in options)


def message(
    kind: int | None,
    options: Options = (),
    *,
    mac: bytes = MAC,
    ciaddr: bytes = NOWHERE,
    flags: int = 0,
    xid: bytes = b"\x39\x03\xf3\x26",
    size: int = 300,
    giaddr: bytes = NOWHERE,
    op: int = 1,
    htype: int = 1,
    hlen: int = 6,
    sname: bytes = b"",
    file: bytes = b"",
    area: bytes | None = None,
) -> bytes:
    """A client's message; `kind` None: BOOTP.  `area`: what follows the fixed part, instead of the options."""
    head = bytes((op, htype, hlen, 0)) + xid + b"\0\0" + flags.to_bytes(2, "big")
    addresses = ciaddr + bytes(8) + giaddr
    fixed = head + addresses + mac.ljust(16, b"\0") + sname.ljust(64, b"\0") + file.ljust(128, b"\0")
    if area is None:
        first = [] if kind is None else [(53, bytes((kind,)))]
        area = COOKIE + spell([*first, *options]) + b"\xff"
    return (fixed + area).ljust(size, b"\0")


class Reply(NamedTuple):
    """An answer as Scapy reads it."""

    answer: Answer
    bootp: Any
    options: dict[Any, Any]
    codes: list[int]
    """In the order in which they came."""

    @property
    def kind(self) -> int | None:
        return self.options.get("message-type")

    @property
    def address(self) -> bytes:
        return bytes(map(int, self.bootp.yiaddr.split(".")))


def read(answer: Answer) -> Reply:
    """Scapy's reading, and the order of the options; that the answer is sound as a message is checked here."""
    payload = answer.payload
    bootp = BOOTP(payload)
    assert len(payload) >= 300 and (bootp.op, bootp.htype, bootp.hlen, bootp.hops) == (2, 1, 6, 0)
    assert (bootp.giaddr, bootp.sname.strip(b"\0"), bootp.file.strip(b"\0")) == ("0.0.0.0", b"", b"")
    pairs = [each for each in bootp[DHCP].options if isinstance(each, tuple)]
    rest = [each for each in bootp[DHCP].options if not isinstance(each, tuple)]
    assert rest[0] == "end" and set(rest[1:]) <= {"pad"}
    names = [each[0] for each in pairs]
    assert len(set(names)) == len(names), "an option twice"
    codes, at = [], 240
    while payload[at] != 255:
        codes.append(payload[at])
        at += 2 + payload[at + 1]
    assert len(codes) == len(pairs) and not any(payload[at + 1 :])
    return Reply(answer, bootp, {each[0]: each[1] if len(each) == 2 else list(each[1:]) for each in pairs}, codes)


class Bench:
    def __init__(
        self,
        settings: Settings | None = USUAL,
        net: str = "10.0.2.0/24",
        taken: tuple[bytes, ...] = (GATEWAY, DNS),
        first: bytes = FIRST,
    ) -> None:
        self.settings = settings
        self.count: Counter[str] = Counter()
        self.used: dict[bytes, str] = {}  # addresses that hosts use, and the key by which each host is known
        self.pool = Pool(IPv4Network(net), taken, first)
        self.leases = PoolLeases(self.pool, self._in_use, Deadlines(), LEASE)
        self.server = DhcpServer(self.leases, lambda: self.settings, self.count)

    def _in_use(self, address: bytes, key: str) -> bool:
        return address in self.used and self.used[address] != key

    def hear(self, payload: bytes, mac: bytes, source: bytes, now: float) -> Answer | None:
        """What the server answers at once."""
        answers: list[Answer] = []
        self.server.receive(payload, mac, source, now, lambda answer, now: answers.append(answer))
        assert len(answers) <= 1
        return answers[0] if answers else None

    def give(
        self, payload: bytes, now: float = 0.0, *, source: bytes = NOWHERE, mac: bytes | None = None
    ) -> Reply | None:
        """What the server answers, read; None when it is silent.  By default the frame comes from chaddr."""
        answer = self.hear(payload, payload[28:34] if mac is None else mac, source, now)
        return read(answer) if answer is not None and answer.payload else None

    def ask(self, *arguments: Any, now: float = 0.0, source: bytes = NOWHERE, **fields: Any) -> Reply:
        """The same for a message that must be answered."""
        payload = message(*arguments, **fields)
        reply = self.give(payload, now, source=source)
        assert reply is not None, self.count
        assert reply.bootp.xid == int.from_bytes(payload[4:8], "big")
        assert reply.answer.payload[28:44] == payload[28:44] and reply.answer.payload[10:12] == payload[10:12]
        return reply

    def silent(self, counted: str, *arguments: Any, now: float = 0.0, **fields: Any) -> None:
        before = self.count[counted]
        assert self.give(message(*arguments, **fields), now) is None
        assert self.count[counted] == before + 1, self.count

    def lease(self, mac: bytes = MAC, options: Options = (), now: float = 0.0, wanted: bytes | None = None) -> bytes:
        """Discover, offer, request, acknowledgement."""
        wish = [] if wanted is None else [(50, wanted)]
        offered = self.ask(DISCOVER, [*options, *wish], mac=mac, now=now)
        assert offered.kind == OFFER
        chosen = [*options, (50, offered.address), (54, GATEWAY)]
        reply = self.ask(REQUEST, chosen, mac=mac, now=now)
        assert reply.kind == ACK and reply.address == offered.address
        return reply.address
