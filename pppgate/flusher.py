"""What has something to send when a wake-up ends: a Guest on its serial line, a BridgePort of the segment."""

from typing import Protocol


class Flusher(Protocol):
    def flush(self, now: float) -> None:
        """Write what waits, once for all that the wake-up brought."""


Dirty = dict[Flusher, None]
"""Those whose `flush` is to be called when this wake-up ends; the wiring empties it."""
