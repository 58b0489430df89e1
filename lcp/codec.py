"""Codecs: what turns the packets of network protocols into other ones on a link, such as a compressor.

In: packets with their protocol numbers, in the order in which they go onto the line, and those that come from it.
Out: other packets with other numbers. A chain of codecs stands between the queue and the framer; each belongs to
somebody who negotiates it (Van Jacobson's to IPCP, compressors to CCP), puts it in when it is agreed on, and takes it
out when that ends. Only packets of the network layer pass through it: never those by which a link is negotiated.
"""

from collections import Counter
from enum import IntEnum
from typing import Protocol

from lcp.packet import DEFAULT_MRU

NETWORK_LAYER_MOST = 0x3FFF
"""RFC 1661 section 2: numbers up to this one are those of network-layer packets."""


class Codec(Protocol):
    """One stage. Both ways have a memory of their own, if any; a None is a packet dropped, and is counted."""

    def encode(self, protocol: int, packet: bytes) -> tuple[int, bytes] | None:
        """What goes onto the line in the place of a packet."""

    def decode(self, protocol: int, information: bytes) -> tuple[int, bytes] | None:
        """What the peer's codec was given. What the peer did not encode comes here too, and is given back as it is."""

    def reset(self, longest: int) -> None:
        """Forget all packets: the link is negotiated anew, or the codec has just been put in. The peer takes no more
        than `longest` octets of information; a packet that would become longer is better left as it is."""


class Stage(IntEnum):
    """Where in the chain a codec stands, seen from the queue."""

    HEADERS = 0
    """It makes the headers of single packets smaller."""
    PACKETS = 1
    """It works on packets of every protocol (RFC 1962)."""


class CodecChain:
    """The codecs of one link. `count` gets codec.not_encoded, codec.not_decoded and codec.too_long (a packet that came
    out longer than the peer takes: it is dropped, for the peer would drop it too)."""

    def __init__(self, count: Counter[str]) -> None:
        self._count = count
        self._longest = DEFAULT_MRU
        self._chain: list[tuple[Stage, Codec]] = []

    def __bool__(self) -> bool:
        return bool(self._chain)

    def add(self, codec: Codec, stage: Stage) -> None:
        """Put a codec in, behind those of the same stage."""
        codec.reset(self._longest)
        self._chain.append((stage, codec))
        self._chain.sort(key=lambda each: each[0])

    def remove(self, codec: Codec) -> None:
        """Take a codec out; nothing happens when it is not there."""
        self._chain = [each for each in self._chain if each[1] is not codec]

    def reset(self, longest: int) -> None:
        """The link is negotiated anew, and the peer takes `longest` octets of information."""
        self._longest = longest
        for _, codec in self._chain:
            codec.reset(longest)

    def encode(self, protocol: int, packet: bytes) -> tuple[int, bytes] | None:
        """Number and information for the framer, or None, counted."""
        for _, codec in self._chain:
            coded = codec.encode(protocol, packet)
            if coded is None:
                self._count["codec.not_encoded"] += 1
                return None
            protocol, packet = coded
        if len(packet) > self._longest:
            self._count["codec.too_long"] += 1
            return None
        return protocol, packet

    def decode(self, protocol: int, information: bytes) -> tuple[int, bytes] | None:
        """Number and packet as the peer had them, or None, counted."""
        for _, codec in reversed(self._chain):
            decoded = codec.decode(protocol, information)
            if decoded is None:
                self._count["codec.not_decoded"] += 1
                return None
            protocol, information = decoded
        return protocol, information
