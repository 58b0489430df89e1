"""Control packets in words, one line each way, as `-v` shows them; with `-vv` IP packets too, by length.

In: a guest.  Out: lines for `say`.  It wraps what the guest receives and frames, from outside.
"""

from collections.abc import Callable

from ipcp.protocol import DESCRIBED
from lcp.packet import Protocol
from lcp.trace import WORDS, Words, describe, describe_frame
from pppgate.ether.bridge_port import BridgePort
from pppgate.guest import Guest

VOCABULARY = {**WORDS, Protocol.IPCP: Words("IPCP", DESCRIBED)}
_IP_SPELLINGS = (b"\x21", b"\x00\x21")


class Trace:
    """`say` prints one line."""

    def __init__(self, say: Callable[[str], None], *, packets: bool = False) -> None:
        self._say = say
        self._packets = packets

    def attach(self, guest: Guest, name: str, clock: Callable[[], float]) -> None:
        receive, frame = guest.receive, guest.frame

        def traced_receive(octets: bytes, now: float) -> None:
            if self._packets or not octets.startswith(_IP_SPELLINGS):
                self._say(f"{name}: rcvd {describe_frame(octets, VOCABULARY)}")
            receive(octets, now)

        def traced_frame(protocol: int, information: bytes) -> bytes:
            if self._packets or protocol != Protocol.IP:
                self._say(f"{name}: sent {describe(protocol, information, VOCABULARY)}")
            return frame(protocol, information)

        guest.receive, guest.frame = traced_receive, traced_frame

    def attach_ether(self, port: BridgePort, name: str, clock: Callable[[], float]) -> None:
        """Of a guest on the segment: its ARP and DHCP, and with -vv every frame, by length."""
        from pppgate.ether.describe import describe as describe_ether
        from pppgate.ether.describe import is_control

        receive, send = port.receive, port.send

        def traced_receive(from_port: BridgePort, frame: bytes, now: float) -> None:
            if self._packets or is_control(frame):
                self._say(f"{name}: rcvd {describe_ether(frame)}")
            receive(from_port, frame, now)

        def traced_send(frames: list[bytes]) -> int:
            taken = send(frames)
            for frame in frames[:taken]:
                if self._packets or is_control(frame):
                    self._say(f"{name}: sent {describe_ether(frame)}")
            return taken

        port.receive, port.send = traced_receive, traced_send
