"""Segments that arrived ahead of a gap: kept until the gap is filled, and described as SACK blocks.

In: (sequence, payload) with sequences as plain growing integers (the caller has unwrapped them).
Out: the octets that are in order now.  Bounds: `capacity` octets and PIECES_MOST pieces, whatever is sent.
The first octet accepted for a sequence number wins; a later, different one is ignored.
"""

from bisect import bisect_right
from typing import Final

PIECES_MOST: Final = 128
"""A guest that sends many tiny pieces with gaps (CVE-2018-5390) is held to this many."""


class OutOfOrder:
    """Non-overlapping pieces in order of sequence."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        self._starts: list[int] = []
        self._pieces: list[bytes] = []
        self._latest = 0  # where the piece that came last begins: its block is reported first (RFC 2018 section 4)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def add(self, sequence: int, payload: bytes) -> bool:
        """Keep what is new of `payload`.  False: there was no room for it (the caller counts the drop)."""
        starts, pieces = self._starts, self._pieces
        end = sequence + len(payload)
        at = bisect_right(starts, sequence)
        if at:
            before = starts[at - 1] + len(pieces[at - 1])
            if before >= end:
                return True
            if before > sequence:
                payload = payload[before - sequence :]
                sequence = before
        self._latest = sequence
        while payload:  # between the pieces that are there already
            following = starts[at] if at < len(starts) else end
            part = payload[: following - sequence] if following < end else payload
            if part:
                if self.size + len(part) > self.capacity or len(starts) >= PIECES_MOST:
                    return False
                starts.insert(at, sequence)
                pieces.insert(at, part)
                self.size += len(part)
                at += 1
            if at >= len(starts):
                break
            skip = starts[at] + len(pieces[at])
            payload = payload[skip - sequence :]
            sequence = skip
            at += 1
        return True

    def take(self, sequence: int) -> bytes:
        """Remove and return all that follows on `sequence` without a gap."""
        starts, pieces = self._starts, self._pieces
        used = 0
        out = []
        for start, piece in zip(starts, pieces, strict=True):
            if start > sequence:
                break
            used += 1
            self.size -= len(piece)
            fresh = piece[sequence - start :]
            out.append(fresh)
            sequence += len(fresh)
        del starts[:used], pieces[:used]
        return b"".join(out)

    def blocks(self) -> list[tuple[int, int]]:
        """The contiguous ranges held, the one that changed last first."""
        ranges: list[tuple[int, int]] = []
        for start, piece in zip(self._starts, self._pieces, strict=True):
            if ranges and ranges[-1][1] == start:
                ranges[-1] = (ranges[-1][0], start + len(piece))
            else:
                ranges.append((start, start + len(piece)))
        latest = self._latest
        ranges.sort(key=lambda block: not block[0] <= latest < block[1])
        return ranges
