"""An Ethernet guest made of a socket: frames with a 4-octet length before each (QEMU's -netdev stream), DHCP and ping.

In: the path of an `ether:unix-listen:` link.  Out: a lease, echoes.  The messages are spelled out here, and not by the
code that is tested.
"""

import socket
import struct
import time
from pathlib import Path
from typing import Self

from nat.wire.icmp import build_icmp
from nat.wire.udp import build_udp

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE = range(1, 8)
BROADCAST = b"\xff" * 6
MAC = b"\x52\x54\0\0\0\1"
IPV4, ARP = b"\x08\x00", b"\x08\x06"


def dhcp_message(kind: int, mac: bytes = MAC, ciaddr: bytes = bytes(4), **options: bytes) -> bytes:
    """RFC 2131 section 2, figure 1; options by number, as _50=..."""
    head = struct.pack("!BBBBIHH4s4s4s4s16s", 1, 1, 6, 0, 99, 0, 0, ciaddr, bytes(4), bytes(4), bytes(4), mac)
    body = bytes((53, 1, kind)) + b"".join(
        bytes((int(name[1:]), len(value))) + value for name, value in options.items()
    )
    return head + bytes(192) + b"\x63\x82\x53\x63" + body + b"\xff"


def dhcp_options(payload: bytes) -> dict[int, bytes]:
    found, at = {}, 240
    while payload[at] != 255:
        if payload[at]:
            found[payload[at]] = payload[at + 2 : at + 2 + payload[at + 1]]
            at += 1 + payload[at + 1]
        at += 1
    return found


class EtherGuest:
    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(path))
        self.stream = self.sock.makefile("rb")
        self.address = bytes(4)
        self.router_mac = BROADCAST
        self.options: dict[int, bytes] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stream.close()
        self.sock.close()

    def send(self, to: bytes, kind: bytes, payload: bytes) -> None:
        frame = (to + MAC + kind + payload).ljust(60, b"\0")
        self.sock.sendall(len(frame).to_bytes(4, "big") + frame)

    def receive(self, seconds: float) -> bytes | None:
        """A frame, or None after so long."""
        self.sock.settimeout(seconds)
        try:
            head = self.stream.read(4)
        except OSError:
            self.stream = self.sock.makefile("rb")  # a file that has timed out once reads no more
            return None
        return self.stream.read(int.from_bytes(head, "big")) if head else None

    def _ask(self, message: bytes) -> bytes | None:
        self.send(BROADCAST, IPV4, build_udp(self.address, 68, b"\xff\xff\xff\xff", 67, message))
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            frame = self.receive(0.5)
            if frame is not None and frame[12:14] == IPV4 and frame[23] == 17 and frame[36:38] == b"\0\x44":
                return frame[42:]
        return None

    def lease(self, tries: int = 8) -> bytes:
        """The address that DHCP gives."""
        for _ in range(tries):
            if (offer := self._ask(dhcp_message(DISCOVER))) is not None:
                break
        assert offer is not None, "no offer"
        ack = self._ask(dhcp_message(REQUEST, _50=offer[16:20], _54=dhcp_options(offer)[54], _55=b"\x01\x03\x06\x1a"))
        assert ack is not None
        self.options = dhcp_options(ack)
        assert self.options[53] == bytes((ACK,))
        self.address = ack[16:20]
        return self.address

    def who_has(self, address: bytes) -> bytes | None:
        """Its MAC address, as ARP tells."""
        self.send(BROADCAST, ARP, b"\0\1\x08\0\6\4\0\1" + MAC + self.address + bytes(6) + address)
        for _ in range(5):
            frame = self.receive(0.5)
            if frame is not None and frame[12:14] == ARP and frame[20:22] == b"\0\2" and frame[28:32] == address:
                return frame[22:28]
        return None

    def ping(self, address: bytes, seconds: float = 0.5) -> bytes | None:
        """The ICMP message that comes back (an echo reply, or an error), or None."""
        self.send(self.router_mac, IPV4, build_icmp(self.address, address, 8, 0, b"\0\7\0\1", b"are you there?"))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            frame = self.receive(seconds)
            if frame is not None and frame[12:14] == IPV4 and frame[23] == 1:
                return frame[34 : 14 + int.from_bytes(frame[16:18], "big")]
        return None
