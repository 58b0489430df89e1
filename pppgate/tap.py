"""What looks at everything that a guest says and is told, from outside: a capture, a trace, a fault that is tried out.

A tap is given the two callables through which all frames of one guest pass, and gives back those that take their
place. This happens once, when a PppEnd or a BridgePort is made; the protocols know nothing of it.
"""

from collections.abc import Callable
from typing import Protocol

from pppgate.ether.tap import Clock, FrameTap

Receive = Callable[[bytes, float], None]
"""Takes one good frame from the line, from its protocol field on."""
Frame = Callable[[int, bytes], bytes]
"""Makes the octets for the line out of a protocol number and the information."""


class Tap(FrameTap, Protocol):
    """`name` is what event lines call the guest."""

    def wrap_ppp(self, name: str, clock: Clock, receive: Receive, frame: Frame) -> tuple[Receive, Frame]: ...
