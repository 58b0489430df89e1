"""Control packets in words, one line each way, as `-v` shows them; with `-vv` IP packets too, by length.

In: frames.  Out: lines for `say`.  It is a Tap: the protocols know nothing of it.
"""

from collections.abc import Callable

from ipcp.protocol import DESCRIBED
from lcp.packet import Protocol
from lcp.trace import WORDS, Words, describe, describe_frame
from pppgate.ether.tap import Clock, P, Send
from pppgate.tap import Frame, Receive

VOCABULARY = {**WORDS, Protocol.IPCP: Words("IPCP", DESCRIBED)}
_IP_SPELLINGS = (b"\x21", b"\x00\x21")


class Trace:
    """`say` prints one line."""

    def __init__(self, say: Callable[[str], None], *, packets: bool = False) -> None:
        self._say = say
        self._packets = packets

    def wrap_ppp(self, name: str, clock: Clock, receive: Receive, frame: Frame) -> tuple[Receive, Frame]:
        def traced_receive(octets: bytes, now: float) -> None:
            if self._packets or not octets.startswith(_IP_SPELLINGS):
                self._say(f"{name}: rcvd {describe_frame(octets, VOCABULARY)}")
            receive(octets, now)

        def traced_frame(protocol: int, information: bytes) -> bytes:
            if self._packets or protocol != Protocol.IP:
                self._say(f"{name}: sent {describe(protocol, information, VOCABULARY)}")
            return frame(protocol, information)

        return traced_receive, traced_frame

    def wrap_ethernet(
        self, name: str, clock: Clock, receive: Callable[[P, bytes, float], None], send: Send
    ) -> tuple[Callable[[P, bytes, float], None], Send]:
        """Of a guest on the segment: its ARP and DHCP, and with -vv every frame, by length."""
        from pppgate.describe_ether import describe as describe_ether
        from pppgate.describe_ether import is_control

        def traced_receive(from_port: P, frame: bytes, now: float) -> None:
            if self._packets or is_control(frame):
                self._say(f"{name}: rcvd {describe_ether(frame)}")
            receive(from_port, frame, now)

        def traced_send(frames: list[bytes]) -> int:
            taken = send(frames)
            for frame in frames[:taken]:
                if self._packets or is_control(frame):
                    self._say(f"{name}: sent {describe_ether(frame)}")
            return taken

        return traced_receive, traced_send
