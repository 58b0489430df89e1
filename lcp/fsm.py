"""The option negotiation automaton of RFC 1661 section 4: the table as data, and one that runs it.

Theory of operation. `TABLE[state][event]` is `(actions, next state)`, spelled as in the RFC's own table in
section 4.1; the cells marked `-` there are absent, because the event cannot happen in that state. An `Automaton`
takes an event, performs the actions through its owner in the order given, and then enters the next state.
It owns the Restart timer and its counter (section 4.6) and nothing else: which packets the actions make and which
events the packets are is the business of `lcp.control`. Time comes in as `now`; `deadline` says when
`tick(now)` is wanted, and is infinite when the timer does not run.

The timer runs in the states Closing, Stopping, Req-Sent, Ack-Rcvd and Ack-Sent. Sending a request starts
it anew; it expires as TO+ while requests are left and as TO- after the last.
"""

import math
from collections.abc import Mapping
from enum import IntEnum
from typing import NamedTuple, Protocol


class State(IntEnum):
    """RFC 1661 section 4.2, numbered as the table's columns."""

    INITIAL = 0
    STARTING = 1
    CLOSED = 2
    STOPPED = 3
    CLOSING = 4
    STOPPING = 5
    REQ_SENT = 6
    ACK_RCVD = 7
    ACK_SENT = 8
    OPENED = 9


class Event(IntEnum):
    """RFC 1661 section 4.3, in the order of the table's rows."""

    UP = 0
    DOWN = 1
    OPEN = 2
    CLOSE = 3
    TO_PLUS = 4
    TO_MINUS = 5
    RCR_PLUS = 6
    RCR_MINUS = 7
    RCA = 8
    RCN = 9
    RTR = 10
    RTA = 11
    RUC = 12
    RXJ_PLUS = 13
    RXJ_MINUS = 14
    RXR = 15


class Timing(NamedTuple):
    """RFC 1661 section 4.6. `restart` is seconds, the others are numbers of packets."""

    restart: float = 3.0
    max_configure: int = 10
    max_terminate: int = 2
    max_failure: int = 5


HURRY_SECONDS = 0.5
HURRY_OLD_SECONDS = 0.2
"""When the peer speaks up for the first time: seconds until a request of ours is repeated, and the same when
that request is older than the first figure, so that it was most likely sent before the peer listened."""

_E = Event

_ROWS = {
    #             Init  Start     Closed    Stopped       Clos'g Stop'g Req-Sent  Ack-Rcvd  Ack-Sent  Opened
    _E.UP: "2     irc,scr/6 -         -             -      -      -         -         -         -",
    _E.DOWN: "-     -         0         tls/1         0      1      1         1         1         tld/1",
    _E.OPEN: "tls/1 1         irc,scr/6 3             5      5      6         7         8         9",
    _E.CLOSE: "0     tlf/0     2         2             4      4      irc,str/4 irc,str/4 irc,str/4 tld,irc,str/4",
    _E.TO_PLUS: "-     -         -         -             str/4  str/5  scr/6     scr/6     scr/8     -",
    _E.TO_MINUS: "-     -         -         -             tlf/2  tlf/3  tlf/3     tlf/3     tlf/3     -",
    _E.RCR_PLUS: "-     -         sta/2     irc,scr,sca/8 4      5      sca/8     sca,tlu/9 sca/8     tld,scr,sca/8",
    _E.RCR_MINUS: "-     -         sta/2     irc,scr,scn/6 4      5      scn/6     scn/7     scn/6     tld,scr,scn/6",
    _E.RCA: "-     -         sta/2     sta/3         4      5      irc/7     scr/6     irc,tlu/9 tld,scr/6",
    _E.RCN: "-     -         sta/2     sta/3         4      5      irc,scr/6 scr/6     irc,scr/8 tld,scr/6",
    _E.RTR: "-     -         sta/2     sta/3         sta/4  sta/5  sta/6     sta/6     sta/6     tld,zrc,sta/5",
    _E.RTA: "-     -         2         3             tlf/2  tlf/3  6         6         8         tld,scr/6",
    _E.RUC: "-     -         scj/2     scj/3         scj/4  scj/5  scj/6     scj/7     scj/8     scj/9",
    _E.RXJ_PLUS: "-     -         2         3             4      5      6         6         8         9",
    _E.RXJ_MINUS: "-     -         tlf/2     tlf/3         tlf/2  tlf/3  tlf/3     tlf/3     tlf/3     tld,irc,str/5",
    _E.RXR: "-     -         2         3             4      5      6         7         8         ser/9",
}
"""The RFC's table, a column a state: actions/next, or - where the event cannot happen."""

TABLE: Mapping[State, Mapping[Event, tuple[tuple[str, ...], State]]] = {
    state: {
        event: (tuple(filter(None, actions.split(","))), State(int(following)))
        for event, row in _ROWS.items()
        for actions, _, following in [row.split()[state].rpartition("/")]
        if following != "-"
    }
    for state in State
}
"""TABLE[state][event] = (actions, next state); an event that is illegal in a state is absent."""

TIMED = frozenset({State.CLOSING, State.STOPPING, State.REQ_SENT, State.ACK_RCVD, State.ACK_SENT})
NEGOTIATING = frozenset({State.REQ_SENT, State.ACK_RCVD, State.ACK_SENT})


class Owner(Protocol):
    """Who performs the actions: tlu tld tls tlf scr sca scn str sta scj ser (RFC 1661 section 4.4)."""

    def act(self, action: str, now: float) -> None: ...


class Automaton:
    """One automaton. `state` is the state during the actions too, and the next one only after them."""

    def __init__(self, owner: Owner, timing: Timing | None = None) -> None:
        self.timing = timing or Timing()
        self.state = State.INITIAL
        self.deadline = math.inf
        self._owner = owner
        self._restarts = 0
        self._requested_at = -math.inf
        self._hurried = True
        self._acting = False
        self._later: list[Event] = []

    def event(self, event: Event, now: float) -> bool:
        """Let `event` happen; False, and nothing else, when it is illegal in this state.

        An event that an action causes (tlu may find that the link has to be closed) waits until the actions
        are done and the next state is reached.
        """
        if self._acting:
            self._later.append(event)
            return True
        cell = TABLE[self.state].get(event)
        if cell is None:
            return False
        actions, following = cell
        if "scr" in actions:
            # a request that the peer has not provoked may be sent before it listens
            self._hurried = event not in (Event.UP, Event.OPEN, Event.TO_PLUS)
        self._acting = True
        for action in actions:
            self._act(action, actions, now)
        self._acting = False
        self.state = following
        if following not in TIMED:
            self.deadline = math.inf
        elif self.deadline == math.inf:
            # reached Closing, Stopping or Req-Sent without a request: one period, then on as TO+ or TO-
            self.deadline = now + self.timing.restart
        while self._later:
            self.event(self._later.pop(0), now)
        return True

    def _act(self, action: str, actions: tuple[str, ...], now: float) -> None:
        if action == "irc":
            ending = "str" in actions
            self._restarts = self.timing.max_terminate if ending else self.timing.max_configure
        elif action == "zrc":
            # the next expiry is TO-: the peer has one period to hang up (RFC 1661 section 4.4), which `event` starts
            self._restarts = 0
        else:
            if action in ("scr", "str"):
                self._restarts -= 1
                self._requested_at = now
                self.deadline = now + self.timing.restart
            self._owner.act(action, now)

    def tick(self, now: float) -> None:
        """Run the Restart timer if it is due."""
        if now >= self.deadline:
            self.deadline = math.inf
            self.event(Event.TO_PLUS if self._restarts > 0 else Event.TO_MINUS, now)

    def unheard(self) -> None:
        """What was sent so far has not reached the peer, provoked or not: `hurry` counts anew."""
        self._hurried = False

    def hurry(self, now: float) -> None:
        """The peer has just asked for something while a request of ours waits for an answer.

        If it is the first thing heard since that request, the request may have been sent before the peer
        listened (a guest that starts its pppd long after the line was opened). So it is soon repeated, once,
        instead of up to three seconds later; not at once, because it may yet lie in the peer's buffer.
        """
        if self.state in (State.REQ_SENT, State.ACK_SENT) and not self._hurried:
            self._hurried = True
            self._restarts = max(self._restarts, self.timing.max_configure - 1)
            old = now - self._requested_at >= HURRY_SECONDS
            self.deadline = min(self.deadline, now + (HURRY_OLD_SECONDS if old else HURRY_SECONDS))

    def expect_anew(self, now: float) -> None:
        """A Configure-Request has come while we only give the peer time to hang up after its own
        Terminate-Request (zrc): it has hung up and dials again, so that wait is over."""
        if self.state == State.STOPPING and self._restarts <= 0:
            self.event(Event.TO_MINUS, now)
