"""The way of a flow's segments: from either half of it onto the guest's line.

In: sequence numbers, flags, payloads.  Out: packets on the line, each with the ACK and the window that the receiver
announces at that moment.  It does not know what is sent again, nor when.
"""

from collections.abc import Sequence
from typing import Final

from nat.line import Line
from nat.tcp.receiver import Receiver
from nat.wire.tcp import ACK, FIN, RST, SYN, SegmentWriter, ends

_NO_DATA: Final = (b"",)


class Output:
    """One connection's.

    line: the guest's.
    key: under which what has to stay in order waits on the line: data, FIN and RST.
    """

    __slots__ = ("line", "key", "_urgent", "_receiver", "_writer")

    def __init__(self, line: Line, key: bytes, receiver: Receiver) -> None:
        """`key`: the guest's address, the outside's, their ports, as they stand in the guest's packets."""
        self.line = line
        self.key = key
        # An ACK or a SYN does not wait behind the data of its flow, which is in order anyway by sequence number.
        self._urgent = key + b"!"
        self._receiver = receiver
        guest, local, guest_port, local_port = ends(key)
        self._writer = SegmentWriter(local, local_port, guest, guest_port)

    def data(self, sequence: int, payloads: Sequence[bytes], flags: int) -> None:
        """Consecutive segments."""
        receiver = self._receiver
        send, key = self.line.send, self.key
        for packet in self._writer.data(sequence, receiver.rcv_nxt, flags, receiver.announce(), payloads):
            send(packet, key)

    def ack(self, sequence: int) -> None:
        """An ACK without options: by far the most frequent of those without data."""
        receiver = self._receiver
        (packet,) = self._writer.data(sequence, receiver.rcv_nxt, ACK, receiver.announce(), _NO_DATA)
        self.line.send(packet, self._urgent)

    def control(self, flags: int, sequence: int, options: bytes = b"") -> None:
        """SYN, FIN, RST and ACK."""
        receiver = self._receiver
        window = receiver.announce_syn() if flags & SYN else receiver.announce()
        packet = self._writer.control(sequence, receiver.rcv_nxt if flags & ACK else 0, flags, window, options)
        self.line.send(packet, self.key if flags & (FIN | RST) else self._urgent)

    def refuse(self, acknowledgement: int) -> None:
        """A RST for an ACK of something never sent (RFC 9293 section 3.10.7.4, SYN-RECEIVED)."""
        self.line.send(self._writer.control(acknowledgement, 0, RST, 0), self.key)
