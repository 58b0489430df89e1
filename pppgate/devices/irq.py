"""One INTx pin over an eventfd: level-triggered at the card, one event for each time the client may hear of it.

In:  the pin's level from the card; assign, mask, unmask and trigger from the client.  Out: `signal(fd)`.

VFIO calls this kind of interrupt maskable and automasked: an event masks the line, and the client unmasks it when it
has seen the guest touch the card.  A level that is still high then is told again.  QEMU takes *any* access for that
touch, so a guest in the middle of its interrupt handler would be interrupted anew by each register it reads, at the
cost of three messages each.  Hence `hold`: between it and `release` levels are only noted, and the server holds the
line while accesses follow one another closely.
"""

from collections.abc import Callable


class IrqLine:
    """`fd` is -1 while the client has assigned none. The owner closes what `assign` returns."""

    def __init__(self, signal: Callable[[int], None]) -> None:
        self._signal = signal
        self.fd = -1
        self.level = False
        self.enabled = True
        """The guest's interrupt disable bit, inverted: a disabled line keeps its level but tells nobody."""
        self.masked = False
        self.held = False

    def set_level(self, level: bool) -> None:
        """The pin, from the card."""
        if level is not self.level:
            self.level = level
            if level:
                self._tell()

    def set_enabled(self, enabled: bool) -> None:
        self.enabled = enabled
        self._tell()

    def assign(self, fd: int) -> int:
        """Use `fd` (-1: none) from now on; returns the one that was used before, or -1."""
        before, self.fd = self.fd, fd
        self.masked = False
        self._tell()
        return before

    def mask(self) -> None:
        self.masked = True

    def unmask(self) -> None:
        self.masked = False
        self._tell()

    def trigger(self) -> None:
        """An event that the client asks for itself, whatever the level."""
        if self.fd >= 0:
            self._signal(self.fd)

    def hold(self) -> None:
        self.held = True

    def release(self) -> None:
        self.held = False
        self._tell()

    def _tell(self) -> None:
        if self.level and self.enabled and not self.masked and not self.held and self.fd >= 0:
            self.masked = True
            self._signal(self.fd)
