"""A tap that does harm: frames are lost either way, or damaged on their way out, at random."""

from collections import Counter
from collections.abc import Callable
from random import Random

from pppgate.ether.tap import Clock, P, Send
from pppgate.tap import Frame, Receive


class Faults:
    """`rate`: the share of the frames that something happens to."""

    def __init__(self, random: Random, rate: float) -> None:
        self.count: Counter[str] = Counter()
        self._random = random
        self._rate = rate

    def _strikes(self, what: str) -> bool:
        struck = self._random.random() < self._rate
        self.count[what] += struck
        return struck

    def wrap_ppp(self, name: str, clock: Clock, receive: Receive, frame: Frame) -> tuple[Receive, Frame]:
        def faulty_receive(octets: bytes, now: float) -> None:
            if not self._strikes("dropped in"):
                receive(octets, now)

        def faulty_frame(protocol: int, information: bytes) -> bytes:
            octets = frame(protocol, information)
            if self._strikes("dropped out"):
                return b""
            if self._strikes("damaged"):
                return b"}" + octets[1:-2] + b"~"
            return octets

        return faulty_receive, faulty_frame

    def wrap_ethernet(
        self, name: str, clock: Clock, receive: Callable[[P, bytes, float], None], send: Send
    ) -> tuple[Callable[[P, bytes, float], None], Send]:
        def faulty_receive(port: P, frame: bytes, now: float) -> None:
            if not self._strikes("dropped in"):
                receive(port, frame, now)

        def faulty_send(frames: list[bytes]) -> int:
            kept = [frame for frame in frames if not self._strikes("dropped out")]
            return len(frames) if send(kept) == len(kept) else 0

        return faulty_receive, faulty_send
