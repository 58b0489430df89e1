"""One vfio-user client's session: messages in, replies out, a PCI card moved accordingly.

In:  octets of the client's stream as they come, and the descriptors that came with them.  Out: the octets of the
replies; calls to a Card, a ConfigSpace and an IrqLine; `close` for every descriptor that is not kept. It does no I/O
and knows neither sockets nor what the card is.  What ends a connection is a Broken with its name in `count`
("vfio.message_size"); what is only refused is answered with an errno and counted too.

The protocol is that of QEMU's docs/interop/vfio-user.rst, version 0.0; numbers of requests and flags are there, those
of regions and interrupts in linux/vfio.h.  Integers have the host's byte order, and both ends share the host.
"""

import errno
import json
import struct
from collections import Counter
from collections.abc import Callable
from typing import Final

from pppgate.devices.irq import IrqLine
from pppgate.devices.pci import CONFIG_SIZE, Card, ConfigSpace

VERSION: Final = 1
DMA_MAP: Final = 2
DMA_UNMAP: Final = 3
GET_INFO: Final = 4
GET_REGION_INFO: Final = 5
GET_IRQ_INFO: Final = 7
SET_IRQS: Final = 8
REGION_READ: Final = 9
REGION_WRITE: Final = 10
RESET: Final = 13
WRITE_MULTI: Final = 15

TYPE: Final = 0xF
REPLY: Final = 0x1
NO_REPLY: Final = 0x10
ERROR: Final = 0x20

MESSAGE_MOST: Final = 16384
"""Octets. The largest that a client has reason to send is 200 coalesced writes, 4,824."""
DATA_MOST: Final = 1024
"""Octets read or written by one message, which the client is told: more than any region has."""
FDS_MOST: Final = 8
"""Descriptors in one message, which the client is told."""
MULTI_MOST: Final = (MESSAGE_MOST - 24) // 24

REGIONS: Final = 9
"""BARs 0 to 5, ROM, configuration space, VGA (VFIO_PCI_NUM_REGIONS)."""
BAR0_REGION: Final = 0
CONFIG_REGION: Final = 7
IRQS: Final = 5
"""INTx, MSI, MSI-X, error, request (VFIO_PCI_NUM_IRQS)."""
INTX: Final = 0
READABLE_WRITABLE: Final = 0x1 | 0x2
EVENTFD_MASKABLE_AUTOMASKED: Final = 0x1 | 0x2 | 0x4
RESETTABLE_PCI: Final = 0x1 | 0x2

DATA_NONE: Final = 0x01
DATA_BOOL: Final = 0x02
DATA_EVENTFD: Final = 0x04
ACTION_MASK: Final = 0x08
ACTION_UNMASK: Final = 0x10
ACTION_TRIGGER: Final = 0x20

_HEADER = struct.Struct("=HHIII")
"""Identifier, command, size of all, flags, errno."""
_FRONT = struct.Struct("=HHII")
_ACCESS = struct.Struct("=QII")
"""Offset, region, count."""
_WRITTEN = struct.Struct("=HHIIIQII").pack
_READ = {size: struct.Struct(f"=HHIIIQII{code}").pack for size, code in ((1, "B"), (2, "H"), (4, "I"))}
"""Whole replies to accesses of a register, by its size."""
_INFO = struct.Struct("=IIII")
_REGION_INFO = struct.Struct("=IIIIQQ")
_INDEX = struct.Struct("=I")
_IRQ_SET = struct.Struct("=IIIII")

Handler = Callable[[bytes, list[int]], bytes]


class Broken(Exception):
    """The client does not speak the protocol; its connection is to be ended. The text is for the user."""


class Refused(Exception):
    """The request is answered with this errno."""

    def __init__(self, number: int, name: str) -> None:
        super().__init__(name)
        self.number = number
        self.name = name


class Session:
    def __init__(
        self,
        card: Card,
        irq: IrqLine,
        is_event: Callable[[int], bool],
        close: Callable[[int], None],
        count: Counter[str],
    ) -> None:
        """`irq` is the line that the card was given; `is_event` tells whether a descriptor is one that events can be
        written to without waiting; `close` takes one that is done with."""
        self._card = card
        self._io_size = card.io_size
        self._irq = irq
        self._is_event = is_event
        self._close = close
        self._count = count
        self._config = ConfigSpace(card.identity, card.io_size)
        self._greeted = False
        self._tail = b""
        self._fds: list[int] = []
        self._handlers: dict[int, Handler] = {
            DMA_MAP: self._dma_map,
            DMA_UNMAP: self._dma_unmap,
            GET_INFO: self._get_info,
            GET_REGION_INFO: self._get_region_info,
            GET_IRQ_INFO: self._get_irq_info,
            SET_IRQS: self._set_irqs,
            REGION_READ: self._region_read,
            REGION_WRITE: self._region_write,
            RESET: self._reset,
            WRITE_MULTI: self._write_multi,
        }

    def end(self) -> None:
        """The client has gone: close what it left here."""
        self._discard(self._fds)
        self._fds = []
        before = self._irq.assign(-1)
        if before >= 0:
            self._close(before)

    def receive(self, data: bytes, fds: list[int]) -> bytes:
        """What one read brought; returns the replies. Raises Broken.

        The kernel ends a read behind the message that brought descriptors (unix(7)), so they belong to the last
        message in `data`, even if that is not all there yet.
        """
        if fds:
            self._fds += fds
        if self._tail:
            data = self._tail + data
            self._tail = b""
        at, end, io_size = 0, len(data), self._io_size
        replies: list[bytes] = []
        while end - at >= 16:
            identifier, command, size, flags = _FRONT.unpack_from(data, at)
            if not 16 <= size <= MESSAGE_MOST:
                raise self._broken("vfio.message_size", f"sent a message of {size} octets")
            if end - at < size:
                break
            behind = at + size
            if flags == 0 and size >= 32 and self._greeted:
                # Nearly all there is: one bus cycle. The rest takes the long way round.
                offset, region, count = _ACCESS.unpack_from(data, at + 16)
                if region == BAR0_REGION and count in _READ and offset + count <= io_size:
                    if command == REGION_READ and size == 32:
                        value = self._card.read(offset, count)
                        pack = _READ[count]
                        replies.append(pack(identifier, command, 32 + count, REPLY, 0, offset, region, count, value))
                        at = behind
                        continue
                    if command == REGION_WRITE and size == 32 + count:
                        self._card.write(offset, int.from_bytes(data[at + 32 : behind], "little"), count)
                        replies.append(_WRITTEN(identifier, command, 32, REPLY, 0, offset, region, count))
                        at = behind
                        continue
            mine: list[int] = []
            if behind == end:
                mine, self._fds = self._fds, []
            reply = self._handle(identifier, command, flags, data[at + 16 : behind], mine)
            if reply:
                replies.append(reply)
            at = behind
        if at < end:
            self._tail = data[at:]
            if len(self._fds) > FDS_MOST:
                raise self._broken("vfio.too_many_descriptors", f"sent more than {FDS_MOST} descriptors at once")
        elif self._fds:
            self._count["vfio.stray_descriptors"] += len(self._fds)
            self._discard(self._fds)
        return replies[0] if len(replies) == 1 else b"".join(replies)

    def _handle(self, identifier: int, command: int, flags: int, body: bytes, fds: list[int]) -> bytes:
        """Any message; `fds` are its own, and closed here unless they are kept."""
        number = 0
        payload = b""
        try:
            if flags & TYPE:
                self._count["vfio.not_a_request"] += 1  # we ask nothing, so there is nothing to reply to
                return b""
            if command == VERSION or not self._greeted:
                payload = self._greet(command, body)
            else:
                handler = self._handlers.get(command)
                if handler is None:
                    raise Refused(errno.ENOTSUP, "vfio.unknown_command")
                payload = handler(body, fds)
        except Refused as refusal:
            self._count[refusal.name] += 1
            number = refusal.number
        finally:
            self._discard(fds)
        if flags & NO_REPLY:
            return b""
        if number:
            return _HEADER.pack(identifier, command, 16, REPLY | ERROR, number)
        return _HEADER.pack(identifier, command, 16 + len(payload), REPLY, 0) + payload

    def _broken(self, name: str, what: str) -> Broken:
        self._count[name] += 1
        return Broken(what)

    def _discard(self, fds: list[int]) -> None:
        for fd in fds:
            self._close(fd)
        fds.clear()

    # What is asked once

    def _greet(self, command: int, body: bytes) -> bytes:
        if command != VERSION:
            raise self._broken("vfio.no_version", "did not begin with its version")
        if self._greeted:
            raise Refused(errno.EINVAL, "vfio.second_version")
        if len(body) < 4:
            raise self._broken("vfio.short_version", "sent a version without a number")
        major, _minor = struct.unpack_from("=HH", body)
        if major != 0:
            raise self._broken("vfio.major_version", f"speaks version {major} of vfio-user, and this is 0")
        offered = _capabilities(body[4:])
        if offered is None:
            raise self._broken("vfio.capabilities", "sent capabilities that are not understood")
        ours: dict[str, int | bool] = {"max_msg_fds": FDS_MOST, "max_data_xfer_size": DATA_MOST}
        if offered.get("write_multiple") is True:
            ours["write_multiple"] = True
        self._greeted = True
        return struct.pack("=HH", 0, 0) + json.dumps({"capabilities": ours}).encode() + b"\0"

    def _dma_map(self, body: bytes, _fds: list[int]) -> bytes:
        """Our cards do not reach into the guest's memory, so its descriptors are closed and nothing is kept."""
        _need(body, 32)
        return b""

    def _dma_unmap(self, body: bytes, _fds: list[int]) -> bytes:
        _need(body, 24)
        return body[:24]

    def _get_info(self, body: bytes, _fds: list[int]) -> bytes:
        _need(body, 16)
        return _INFO.pack(_INFO.size, RESETTABLE_PCI, REGIONS, IRQS)

    def _get_region_info(self, body: bytes, _fds: list[int]) -> bytes:
        _need(body, 12)
        (index,) = _INDEX.unpack_from(body, 8)
        if index >= REGIONS:
            raise Refused(errno.EINVAL, "vfio.no_such_region")
        size = {BAR0_REGION: self._io_size, CONFIG_REGION: CONFIG_SIZE}.get(index, 0)
        return _REGION_INFO.pack(_REGION_INFO.size, READABLE_WRITABLE if size else 0, index, 0, size, 0)

    def _get_irq_info(self, body: bytes, _fds: list[int]) -> bytes:
        _need(body, 12)
        (index,) = _INDEX.unpack_from(body, 8)
        if index >= IRQS:
            raise Refused(errno.EINVAL, "vfio.no_such_interrupt")
        is_pin = index == INTX
        return _INFO.pack(_INFO.size, EVENTFD_MASKABLE_AUTOMASKED if is_pin else 0, index, int(is_pin))

    # Interrupts

    def _set_irqs(self, body: bytes, fds: list[int]) -> bytes:
        _need(body, _IRQ_SET.size)
        _, flags, index, start, count = _IRQ_SET.unpack_from(body)
        data, action = flags & 0x07, flags & 0x38
        available = 1 if index == INTX else 0
        if index >= IRQS or start > available or count > available - start:
            raise Refused(errno.EINVAL, "vfio.no_such_interrupt")
        if flags & ~0x3F or data not in (DATA_NONE, DATA_BOOL, DATA_EVENTFD):
            raise Refused(errno.EINVAL, "vfio.interrupt_flags")
        if data == DATA_EVENTFD:
            self._assign(action, fds, count)
        elif action == ACTION_TRIGGER and count == 0:
            if index == INTX:
                self._assign(action, fds, 1)
        elif action not in (ACTION_MASK, ACTION_UNMASK, ACTION_TRIGGER):
            raise Refused(errno.EINVAL, "vfio.interrupt_flags")
        elif data == DATA_BOOL and len(body) - _IRQ_SET.size < count:
            raise Refused(errno.EINVAL, "vfio.short_message")
        elif count and (data == DATA_NONE or body[_IRQ_SET.size]):
            act = {ACTION_MASK: self._irq.mask, ACTION_UNMASK: self._irq.unmask, ACTION_TRIGGER: self._irq.trigger}
            act[action]()
        return b""

    def _assign(self, action: int, fds: list[int], count: int) -> None:
        """Take the event descriptor for INTx; none at all takes the one there is away."""
        if action != ACTION_TRIGGER:
            # Events for masking and unmasking: a client without them sends messages instead.
            raise Refused(errno.EINVAL, "vfio.interrupt_flags")
        if len(fds) > count:
            raise Refused(errno.EINVAL, "vfio.descriptor_count")
        if fds and not self._is_event(fds[0]):
            raise Refused(errno.EINVAL, "vfio.not_an_event")
        if count:
            before = self._irq.assign(fds.pop() if fds else -1)
            if before >= 0:
                self._close(before)

    def _reset(self, _body: bytes, _fds: list[int]) -> bytes:
        self._config.reset()
        self._card.reset()
        self._irq.set_enabled(True)
        return b""

    # Regions

    def _region_read(self, body: bytes, _fds: list[int]) -> bytes:
        _need(body, _ACCESS.size)
        offset, region, count = _ACCESS.unpack_from(body)
        self._check_range(offset, region, count)
        if region == CONFIG_REGION:
            self._config.pending = self._irq.level
            return body[:16] + self._config.read(offset, count)
        read = self._card.read
        parts = [read(at, size).to_bytes(size, "little") for at, size in _pieces(offset, count)]
        return body[:16] + b"".join(parts)

    def _region_write(self, body: bytes, _fds: list[int]) -> bytes:
        _need(body, _ACCESS.size)
        offset, region, count = _ACCESS.unpack_from(body)
        if len(body) - _ACCESS.size < count:
            raise Refused(errno.EINVAL, "vfio.short_message")
        self._write(offset, region, body[16 : 16 + count])
        return body[:16]

    def _write_multi(self, body: bytes, _fds: list[int]) -> bytes:
        _need(body, 8)
        (count,) = struct.unpack_from("=Q", body)
        if count > MULTI_MOST or len(body) - 8 < count * 24:
            raise Refused(errno.EINVAL, "vfio.short_message")
        for at in range(8, 8 + count * 24, 24):
            offset, region, size = _ACCESS.unpack_from(body, at)
            if size > 8:
                raise Refused(errno.EINVAL, "vfio.access_size")
            self._write(offset, region, body[at + 16 : at + 16 + size])
        return body[:8]

    def _write(self, offset: int, region: int, data: bytes) -> None:
        self._check_range(offset, region, len(data))
        if region == CONFIG_REGION:
            self._config.write(offset, data)
            self._irq.set_enabled(not self._config.intx_disabled)
            return
        at = 0
        for where, size in _pieces(offset, len(data)):
            self._card.write(where, int.from_bytes(data[at : at + size], "little"), size)
            at += size

    def _check_range(self, offset: int, region: int, count: int) -> None:
        size = {BAR0_REGION: self._io_size, CONFIG_REGION: CONFIG_SIZE}.get(region, 0)
        if not 0 < count <= size or offset > size - count:
            raise Refused(errno.EINVAL, "vfio.out_of_range")


def _pieces(offset: int, count: int) -> list[tuple[int, int]]:
    """(offset, size) of the bus cycles that make up an access: whole if a bus could do it, else octet by octet."""
    if count in _READ:
        return [(offset, count)]
    return [(at, 1) for at in range(offset, offset + count)]


def _need(body: bytes, size: int) -> None:
    if len(body) < size:
        raise Refused(errno.EINVAL, "vfio.short_message")


def _capabilities(data: bytes) -> dict[str, object] | None:
    """What the client offers; {} when it says nothing, None when it is not the JSON object that it should be."""
    if not data:
        return {}
    try:
        said = json.loads(data.split(b"\0", 1)[0])
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    offered = said.get("capabilities", {})
    return offered if isinstance(offered, dict) else None
