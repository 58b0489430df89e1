"""What looks at every frame of a cable, from outside: a capture, a trace.

A tap is given the two callables through which all frames of one guest pass, and gives back those that take their place.
This happens once, when a BridgePort is made; segment and port know nothing of it.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

Clock = Callable[[], float]
"""The loop's time, in seconds."""
Send = Callable[[list[bytes]], int]
"""Sends Ethernet frames, and says how many of them were taken."""
P = TypeVar("P")
"""A port of the segment."""


class FrameTap(Protocol):
    """`name` is what event lines call the guest."""

    def wrap_ethernet(
        self, name: str, clock: Clock, receive: Callable[[P, bytes, float], None], send: Send
    ) -> tuple[Callable[[P, bytes, float], None], Send]: ...
