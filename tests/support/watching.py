"""What every fake event loop of the tests has: who waits to read or write which descriptor."""

from collections.abc import Callable


class Watching:
    def __init__(self) -> None:
        self.readers: dict[int, Callable[[float], None]] = {}
        self.writers: dict[int, Callable[[float], None]] = {}

    def watch_read(self, fd: int, callback: Callable[[float], None]) -> None:
        self.readers[fd] = callback

    def unwatch_read(self, fd: int) -> None:
        self.readers.pop(fd, None)

    def watch_write(self, fd: int, callback: Callable[[float], None]) -> None:
        self.writers[fd] = callback

    def unwatch_write(self, fd: int) -> None:
        self.writers.pop(fd, None)
