"""What everything in one process shares: the event loop, its timers and its dirty things, chance, and the user's ear.

Made once by the server, handed to every network, session and call.  Data only, no logic.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from nat.deadlines import Deadlines
from nat.dirty import Dirty
from nat.host import Watcher
from pppgate.tap import Tap


@dataclass(frozen=True, slots=True)
class Surroundings:
    watcher: Watcher
    deadlines: Deadlines
    dirty: Dirty
    random: random.Random
    say: Callable[[str], None]
    """One line for the user about what happens."""
    detail: Callable[[str], None]
    """One line that is only wanted with -v."""
    debug: Callable[[str], None]
    """One line that is only wanted with --log-level debug."""
    taps: tuple[Tap, ...] = ()
