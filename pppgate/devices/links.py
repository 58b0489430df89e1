"""open_uart, open_ne2k: from what the user writes to a link whose guests come through a card of ours.

    uart:vfio-user:PATH[,model=16550A][,pace=none|line]            a serialport Link
    ne2k:vfio-user:PATH[,mac=52:54:00:12:34:56][,memory=16k|32k]   an EtherLink

In:  such a URL.  Out: a link, not started yet, or a PortError that says what is wrong with it.  A path cannot have a
comma in it.  The chips are loaded when they are asked for.
"""

import difflib
import socket
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from pppgate.devices.pci import Card
from pppgate.devices.server import Connection
from pppgate.ether.frame import parse_mac
from serialport.port import PortError, Watcher
from serialport.sockets import Listener

OnPort = Callable[[Any], None]
"""Takes a serialport Port from a UART, a FramePort from an NE2000."""
Maker = Callable[[str, int, Watcher, Callable[[bool], None], OnPort], Card]
"""(name, slot, watcher, interrupt, on_port) -> a card."""


class DeviceLink(Listener):
    """A unix socket; each connection is a slot of an emulator's machine with a card of ours in it."""

    def __init__(self, url: str, scheme: str, path: str, make: Maker, what: str) -> None:
        super().__init__(url, scheme, path, tcp=False)
        self.description = f"unix socket {self.path}, {what} for each vfio-user connection"
        self._make = make
        self._slots: dict[int, int] = {}
        """Number of a card -> process that has it."""

    def start(self, watcher: Watcher, on_port: OnPort) -> None:
        self._on_port = on_port
        self._listen(watcher)

    def _take(self, name: str, sock: socket.socket) -> None:
        # The lowest number that is free: an emulator that is started again finds what it had before.
        slot = next(number for number in range(len(self._slots) + 1) if number not in self._slots)
        peer = _peer(sock)

        def make(watcher: Watcher, interrupt: Callable[[bool], None]) -> Card:
            return self._make(name, slot, watcher, interrupt, self._on_port)

        def left(connection: Connection, trouble: str) -> None:
            self._slots.pop(slot, None)
            self._left(connection, trouble)

        try:
            connection = Connection(name, sock, self._watcher, make, self.count, left)
        except PortError as error:
            sock.close()
            self.note(f"{name}: {error}")
        else:
            if peer in self._slots.values():
                # QEMU 11.1 keeps the event descriptors of its cards under the name of their socket.
                self.note(
                    f"{name} is another card in the same emulator, and QEMU mixes up the interrupts of cards that have "
                    "one socket: give each a link of its own."
                )
            self._slots[slot] = peer
            self._guests.add(connection)

    def _left(self, connection: Connection, trouble: str) -> None:
        self._guests.discard(connection)
        if trouble:
            self.note(f"{connection.name} {trouble}.")


def _peer(sock: socket.socket) -> int:
    """The process at the other end (unix(7))."""
    (process,) = struct.unpack_from("=i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(process)


def open_uart(url: str) -> DeviceLink:
    """`uart:vfio-user:PATH[,OPTIONS]`. Raises PortError."""
    from serialport.uart16550.models import MODELS

    path, options = _parse(url, "uart", {"model": tuple(MODELS), "pace": ("none", "line")})
    model, pace = options.get("model", "16550A"), options.get("pace", "none")

    def make(name: str, _slot: int, watcher: Watcher, interrupt: Callable[[bool], None], on_port: OnPort) -> Card:
        from pppgate.devices.serial_card import SerialCard

        return SerialCard(name, watcher, interrupt, on_port, model=model, pace=pace)

    return DeviceLink(url, "uart:vfio-user", path, make, f"a {model} on a PCI card")


def open_ne2k(url: str) -> DeviceLink:
    """`ne2k:vfio-user:PATH[,OPTIONS]`. Raises PortError."""
    path, options = _parse(url, "ne2k", {"mac": (), "memory": ("16k", "32k")})
    memory = int(options.get("memory", "16k").removesuffix("k")) * 1024
    first = _mac(url, options["mac"]) if "mac" in options else _own_mac(path)

    def make(name: str, slot: int, _watcher: Watcher, interrupt: Callable[[bool], None], on_port: OnPort) -> Card:
        from pppgate.devices.ne2000_card import Ne2000Card

        return Ne2000Card(name, interrupt, on_port, mac=_numbered(first, slot), memory=memory)

    return DeviceLink(url, "ne2k:vfio-user", path, make, "an RTL8029 (NE2000)")


def _parse(url: str, kind: str, known: Mapping[str, tuple[str, ...]]) -> tuple[str, dict[str, str]]:
    """The path and the options; `known` has the values that each option may have, () for any."""
    prefix = f"{kind}:vfio-user:"
    path, *words = url.removeprefix(prefix).split(",")
    if not url.startswith(prefix) or not path:
        raise PortError(f"{url!r} is not understood: write {prefix}/tmp/{kind}.sock, for example.")
    options: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name not in known or not equals:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}=?" if near and name not in known else f"there are {_listed(known)}."
            raise PortError(f"{url}: {word!r} is not an option here; {hint}")
        if known[name] and value not in known[name]:
            raise PortError(f"{url}: {name} is one of {', '.join(known[name])}, not {value!r}.")
        options[name] = value
    return path, options


def _listed(known: Mapping[str, tuple[str, ...]]) -> str:
    return " and ".join(f"{name}=" for name in known)


def _mac(url: str, text: str) -> bytes:
    try:
        return parse_mac(text)
    except ValueError as error:
        raise PortError(f"{url}: {error}") from None


def _own_mac(path: str) -> bytes:
    """The first card's, from the socket's path: the same each time, and another for another socket."""
    return b"\x52\x54\x00" + zlib.crc32(path.encode()).to_bytes(4, "big")[:2] + b"\x01"


def _numbered(mac: bytes, slot: int) -> bytes:
    """The next cards on the same socket count on in the three octets that the maker gives out."""
    return mac[:3] + ((int.from_bytes(mac[3:], "big") + slot) & 0xFFFFFF).to_bytes(3, "big")
