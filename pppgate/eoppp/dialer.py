"""The dialer: when a PPP server is called, on which port, and how long to wait before the next try.

In: a link as the user named it, what is asked of a server (call.Terms), when to call (Habits), a Customer.  Out: calls,
one at a time; sentences; `finished(status)` when there will be no more of them.

States: IDLE (on demand: nobody wants the link), LINE (waits for a port), CALLING (chat script or negotiation), UP,
WAITING (until the next try), OVER.  A link that goes out to something (a serial port, a connection) is opened anew for
each call and closed after it, so that a modem loses DTR and a server its connection.  One on which somebody has to come
(a pty, a listener) stays, and a port that comes while nobody wants it is kept until then.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ipcp.protocol import UNSPECIFIED
from pppgate.eoppp.call import Agreed, Call, Customer, Ending, Terms
from pppgate.surroundings import Surroundings
from serialport.port import Backoff, HangUp, Link, Port, PortError, Timer

RETRY_FIRST: Final = 1.0
RETRY_MOST: Final = 30.0
"""Seconds before the next try, twice as long after each that failed."""
STEADY: Final = 10.0
"""Seconds of IP after which a link counts as good, and the wait as short again."""
HOLD: Final = 30.0
"""Seconds that packets may wait for a port to appear."""


class State(Enum):
    IDLE = "idle"
    LINE = "line"
    CALLING = "calling"
    UP = "up"
    WAITING = "waiting"
    OVER = "over"


@dataclass(frozen=True)
class Habits:
    """`idle`: seconds without a packet after which the link is hung up, 0 for never; `address`: the first wish;
    `tries`: failures in a row after which nothing more is tried, 0 for never."""

    demand: bool = False
    persist: bool = True
    idle: float = 0.0
    tries: int = 0
    address: bytes = UNSPECIFIED


class Dialer:
    """`open_link` makes the link anew."""

    def __init__(
        self,
        open_link: Callable[[], Link],
        terms: Terms,
        habits: Habits,
        customer: Customer,
        surroundings: Surroundings,
        finished: Callable[[int], None],
    ) -> None:
        self.state = State.IDLE
        self._used = 0.0  # when the last packet passed
        self.call: Call | None = None
        self.count: Counter[str] = Counter()
        """Of the calls that are over."""
        self._open_link = open_link
        self._terms = terms
        self._habits = habits
        self._customer = customer
        self._around = surroundings
        self._finished = finished
        self._backoff = Backoff(RETRY_FIRST, RETRY_MOST)
        self._failures = 0
        self._ever_up = False
        self._wanted = habits.address
        self._wanted_at = 0.0
        self._link: Link | None = None
        self._link_over = False
        self._ending = False
        self._rested = False  # the call is being ended because nobody needs it
        self._port: Port | None = None  # come, but not used yet
        self._timer: Timer | None = None

    def start(self, now: float) -> None:
        """Raises PortError if the link cannot be used at all."""
        link = self._make_link()
        if self._habits.demand:
            if not link.outward:
                link.start(self._around.watcher, self._on_port)
                self._link = link
            self._around.say(f"The link on {link.description} comes up when a guest wants it.")
            return
        self.state, self._wanted_at, self._link = State.LINE, now, link
        link.start(self._around.watcher, self._on_port)
        self._around.say(f"The PPP server is on {link.description}.")

    def note_traffic(self, now: float) -> None:
        """A packet has passed."""
        self._used = now

    def status(self) -> dict[str, object]:
        """What it is, as plain data.  `end` is there while there is PPP."""
        end = self.call.end if self.call is not None else None
        return {
            "state": self.state.value,
            "failures": self._failures,
            "end": None if end is None else end.status(),
        }

    @property
    def hopeful(self) -> bool:
        """Whether it is worth keeping a packet until the link is up."""
        if self.state is State.LINE:
            return self._around.watcher.now() - self._wanted_at < HOLD
        return self.state is State.CALLING

    def wake(self, now: float) -> None:
        """Somebody has something to send."""
        if self.state is State.IDLE:
            self._dial(now)

    def end(self, now: float) -> None:
        """No more calls; the one there is ends with Terminate-Request, and then `finished` is called."""
        self._ending = True
        if self.state in (State.CALLING, State.UP) and self.call is not None:
            self.call.hang_up("the bridge is being shut down", now)
        else:
            self._over(0)

    def close(self, now: float) -> None:
        """Let go of everything at once."""
        self.state = State.OVER
        self._set_timer(None)
        if self.call is not None:
            self.call.abandon(now)
        self._drop_port()
        if self._link is not None:
            self._link.stop()
            self._link = None

    # Links and ports

    def _make_link(self) -> Link:
        link = self._open_link()
        link.report_to(self._around.say, self._on_link_ended)
        return link

    def _dial(self, now: float) -> None:
        self.state, self._wanted_at = State.LINE, now
        if self._port is not None:
            port, self._port = self._port, None
            self._begin(port, now)
        elif self._link is None:
            try:
                self._link = self._make_link()
                self._link.start(self._around.watcher, self._on_port)
            except PortError as error:
                self._link = None
                self._failed(str(error).rstrip("."), now)
        elif self._link_over:
            self._over(0 if self._ever_up else 1)

    def _on_port(self, port: Port) -> None:
        if self.state is State.LINE:
            self._begin(port, self._around.watcher.now())
        elif self.call is None and self._port is None and self.state is not State.OVER:
            self._port = port
        else:
            port.close()

    def _begin(self, port: Port, now: float) -> None:
        """A port that was kept may have ended meanwhile; then another comes."""
        heard = b""
        try:
            heard = port.read()
        except HangUp:
            port.close()
            return
        self.state = State.CALLING
        self.call = Call(port, self._terms, self._wanted, self._customer, self._around, self._changed, self._call_ended)
        self.call.start(heard, now)

    def _drop_port(self) -> None:
        if self._port is not None:
            self._port.close()
            self._port = None

    def _on_link_ended(self) -> None:
        self._link_over = True
        if self.state in (State.LINE, State.IDLE, State.WAITING):
            self._over(0 if self._ever_up else 1)

    # While there is a call

    def _changed(self, agreed: Agreed | None, now: float) -> None:
        """IP is up, or down again while the call goes on."""
        if agreed is None:
            if self.state is State.UP:
                self.state = State.CALLING
                self._set_timer(None)
            return
        self.state = State.UP
        self._ever_up = True
        self._rested = False
        self._wanted = agreed.local
        self._used = now
        if self._habits.idle > 0:
            self._set_timer(now + self._habits.idle, self._check_idle)

    def _check_idle(self, now: float) -> None:
        due = self._used + self._habits.idle
        if self.call is None:
            return
        if now < due:
            self._set_timer(due, self._check_idle)
        else:
            self._rested = True
            self.call.hang_up(f"nothing was sent or received for {self._habits.idle:g} s", now)

    # What comes after a call

    def _call_ended(self, ending: Ending, now: float) -> None:
        self.count += ending.counters
        name, self.call = self.call.name if self.call is not None else "the line", None
        if self._link is not None and self._link.outward:
            self._link.stop()
            self._link = None
        self._customer.link_down(now)
        if self.state is State.OVER:
            return
        if ending.lasted is not None:
            self._failures = 0
            steady = ending.lasted >= STEADY or self._rested
            self._after(f"{name}: link down: {ending.reason}", now, steady=steady)
        else:
            self._failed(f"{name}: no link: {ending.reason}", now)

    def _failed(self, what: str, now: float) -> None:
        self._failures += 1
        if self._failures >= self._habits.tries > 0 and self._habits.persist:
            self._around.say(f"{what}; it has failed {self._failures} times in a row, and that is enough.")
            self._over(1)
        else:
            self._after(what, now, steady=False)

    def _after(self, what: str, now: float, *, steady: bool) -> None:
        """Say it, and when the next call is."""
        if self._ending or not self._habits.persist or self._link_over:
            self._around.say(f"{what}.")
            self._over(0 if self._ending or self._ever_up else 1)
            return
        if steady:
            self._backoff.reset()
        delay = self._backoff.delay()
        if not self._habits.demand:
            self._around.say(f"{what}; trying again in {delay:g} s.")
        elif steady:
            self._around.say(f"{what}; it comes up again when it is wanted.")
            self.state = State.IDLE
            return
        else:
            self._around.say(f"{what}; it is tried again when it is wanted, in {delay:g} s at the earliest.")
        self.state = State.WAITING
        self._set_timer(now + delay, self._again)

    def _again(self, now: float) -> None:
        """On demand, a call that failed leaves it to the guest to want another."""
        if self._habits.demand:
            self.state = State.IDLE
        else:
            self._dial(now)

    def _over(self, status: int) -> None:
        if self.state is not State.OVER:
            self.state = State.OVER
            self._set_timer(None)
            self._finished(status)

    def _set_timer(self, when: float | None, callback: Callable[[float], None] | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._around.watcher.call_at(when, callback) if when is not None and callback else None
