"""What looks at everything that a guest says and is told, from outside: a capture, a trace, a fault that is tried out.

A tap is given the two callables through which all frames of one guest pass, and gives back those that take their
place. This happens once, when a PppEnd or a BridgePort is made; the protocols know nothing of it.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

Clock = Callable[[], float]
"""The loop's time."""
Receive = Callable[[bytes, float], None]
"""Takes one good frame from the line, from its protocol field on."""
Frame = Callable[[int, bytes], bytes]
"""Makes the octets for the line out of a protocol number and the information."""
Send = Callable[[list[bytes]], int]
"""Sends Ethernet frames, and says how many of them were taken."""
P = TypeVar("P")
"""A port of the segment."""


class Tap(Protocol):
    """`name` is what event lines call the guest."""

    def wrap_ppp(self, name: str, clock: Clock, receive: Receive, frame: Frame) -> tuple[Receive, Frame]: ...

    def wrap_ethernet(
        self, name: str, clock: Clock, receive: Callable[[P, bytes, float], None], send: Send
    ) -> tuple[Callable[[P, bytes, float], None], Send]: ...
