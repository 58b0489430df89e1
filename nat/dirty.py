"""The one queue of what has something to do when the wake-up ends.

In: `flow(thing)` from whatever moves octets (a TCP connection), `line(thing)` from whatever writes to a port.
Out: one `thing.flush(now)` for each, all flows first, since what they send goes out with the rest, then the lines; and
again from the start until nobody is left.  It costs what is dirty, never what exists.

It knows neither what the things are nor how they are woken.  An exception of one of them goes to `report`, and the
others have their turn all the same.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

Report = Callable[[Exception, float], None]
"""Told of an exception that is a bug of ours, and when it happened (seconds)."""


class Thing(Protocol):
    def flush(self, now: float) -> None:
        """Do what the wake-up has left to be done."""


def surface(error: Exception, now: float) -> None:
    """A `Report` for programs without a place to report to: the exception comes out where it happened."""
    raise error


class Dirty:
    """Made once for an event loop; its `flush` is what the loop calls last in each wake-up.

    flow(thing): have `thing.flush` called with the flows.  The caller must put it in only once: it
      keeps a flag that its `flush` clears.  (This is called for each packet, so it does not check.)
    line(thing): have it called with the lines, once however often this is asked for.
    """

    __slots__ = ("flow", "line", "_flows", "_lines", "_report")

    def __init__(self, report: Report = surface) -> None:
        self._flows: deque[Thing] = deque()
        self._lines: dict[Thing, None] = {}
        self._report = report
        self.flow: Callable[[Thing], None] = self._flows.append
        self.line: Callable[[Thing], None] = self._lines.setdefault

    def __bool__(self) -> bool:
        """Whether somebody is left."""
        return bool(self._flows or self._lines)

    def flush(self, now: float) -> None:
        """The end of a wake-up.

        It ends when nobody puts anything in any more: what a flow may send in one wake-up is bounded by its guest's
        window, what a line may write by its port.
        """
        flows, lines = self._flows, self._lines
        while flows or lines:
            while flows:
                flow = flows.popleft()
                try:
                    flow.flush(now)
                except Exception as error:
                    self._report(error, now)
            for line in tuple(lines):
                del lines[line]
                try:
                    line.flush(now)
                except Exception as error:
                    self._report(error, now)
