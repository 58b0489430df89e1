"""What a vfio-user client sends, octet by octet, for the tests of pppgate.devices."""

import struct
from typing import NamedTuple

VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, GET_REGION_INFO, GET_IRQ_INFO = 1, 2, 3, 4, 5, 7
SET_IRQS, READ, WRITE, RESET, WRITE_MULTI = 8, 9, 10, 13, 15
BAR0, CONFIG = 0, 7
REPLY, NO_REPLY, ERROR = 0x01, 0x10, 0x20
CAPABILITIES = b'{"capabilities":{"max_msg_fds":8,"max_data_xfer_size":1048576,"write_multiple":true}}\0'


class Answer(NamedTuple):
    identifier: int
    command: int
    flags: int
    error: int
    body: bytes


def message(command: int, body: bytes = b"", *, identifier: int = 1, flags: int = 0) -> bytes:
    return struct.pack("=HHIII", identifier, command, 16 + len(body), flags, 0) + body


def version(major: int = 0, minor: int = 1, data: bytes = CAPABILITIES) -> bytes:
    return message(VERSION, struct.pack("=HH", major, minor) + data)


def read(offset: int, count: int = 1, region: int = BAR0, *, identifier: int = 1, flags: int = 0) -> bytes:
    return message(READ, struct.pack("=QII", offset, region, count), identifier=identifier, flags=flags)


def write(offset: int, data: bytes, region: int = BAR0, *, identifier: int = 1, flags: int = 0) -> bytes:
    body = struct.pack("=QII", offset, region, len(data)) + data
    return message(WRITE, body, identifier=identifier, flags=flags)


def write_multi(*writes: tuple[int, bytes], region: int = BAR0, count: int | None = None) -> bytes:
    body = struct.pack("=Q", len(writes) if count is None else count)
    for offset, data in writes:
        body += struct.pack("=QII", offset, region, len(data)) + data.ljust(8, b"\0")
    return message(WRITE_MULTI, body)


def set_irqs(flags: int, *, index: int = 0, start: int = 0, count: int = 1, data: bytes = b"") -> bytes:
    return message(SET_IRQS, struct.pack("=IIIII", 20 + len(data), flags, index, start, count) + data)


def answers(stream: bytes) -> list[Answer]:
    """The replies in a stream that ends with a whole one."""
    found = []
    while stream:
        identifier, command, size, flags, error = struct.unpack_from("=HHIII", stream)
        assert 16 <= size <= len(stream)
        found.append(Answer(identifier, command, flags, error, stream[16:size]))
        stream = stream[size:]
    return found
