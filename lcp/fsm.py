"""The option negotiation automaton of RFC 1661, section 4: the table as data, and one that runs it.

Theory of operation. `TABLE[state][event]` is `(actions, next state)`, spelled as in the RFC's own table in
4.1; the cells marked `-` there are absent, because the event cannot happen in that state. An `Automaton`
takes an event, performs the actions through its owner in the order given, and then enters the next state.
It owns the Restart timer and its counter (4.6) and nothing else: which packets the actions make and which
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
    """RFC 1661, 4.2, numbered as the table's columns."""

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
    """RFC 1661, 4.3, in the order of the table's rows."""

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
    """RFC 1661, 4.6. `restart` is seconds, the others are numbers of packets."""

    restart: float = 3.0
    max_configure: int = 10
    max_terminate: int = 2
    max_failure: int = 5


#: A request older than this when the peer speaks up was most likely sent before it listened.
HURRY_SECONDS = 0.5

Cell = tuple[str, State]
_COLUMNS = tuple(State)
_E = Event


def _row(*cells: str) -> list[Cell | None]:
    """Cells in the RFC's notation: '-', '2' or 'irc,scr/6'."""
    row: list[Cell | None] = []
    for cell in cells:
        actions, _, state = cell.rpartition("/")
        row.append(None if cell == "-" else (actions, State(int(state))))
    return row


# fmt: off
_ROWS = {
    #               Initial  Starting     Closed   Stopped         Closing  Stopping Req-Sent   Ack-Rcvd   Ack-Sent   Opened
    _E.UP:        _row("2",  "irc,scr/6", "-",     "-",            "-",     "-",     "-",       "-",       "-",       "-"),  # noqa: E501
    _E.DOWN:      _row("-",  "-",         "0",     "tls/1",        "0",     "1",     "1",       "1",       "1",       "tld/1"),  # noqa: E501
    _E.OPEN:      _row("tls/1", "1",      "irc,scr/6", "3",        "5",     "5",     "6",       "7",       "8",       "9"),  # noqa: E501
    _E.CLOSE:     _row("0",  "tlf/0",     "2",     "2",            "4",     "4",     "irc,str/4", "irc,str/4", "irc,str/4", "tld,irc,str/4"),  # noqa: E501
    _E.TO_PLUS:   _row("-",  "-",         "-",     "-",            "str/4", "str/5", "scr/6",   "scr/6",   "scr/8",   "-"),  # noqa: E501
    _E.TO_MINUS:  _row("-",  "-",         "-",     "-",            "tlf/2", "tlf/3", "tlf/3",   "tlf/3",   "tlf/3",   "-"),  # noqa: E501
    _E.RCR_PLUS:  _row("-",  "-",         "sta/2", "irc,scr,sca/8", "4",    "5",     "sca/8",   "sca,tlu/9", "sca/8", "tld,scr,sca/8"),  # noqa: E501
    _E.RCR_MINUS: _row("-",  "-",         "sta/2", "irc,scr,scn/6", "4",    "5",     "scn/6",   "scn/7",   "scn/6",   "tld,scr,scn/6"),  # noqa: E501
    _E.RCA:       _row("-",  "-",         "sta/2", "sta/3",        "4",     "5",     "irc/7",   "scr/6",   "irc,tlu/9", "tld,scr/6"),  # noqa: E501
    _E.RCN:       _row("-",  "-",         "sta/2", "sta/3",        "4",     "5",     "irc,scr/6", "scr/6", "irc,scr/8", "tld,scr/6"),  # noqa: E501
    _E.RTR:       _row("-",  "-",         "sta/2", "sta/3",        "sta/4", "sta/5", "sta/6",   "sta/6",   "sta/6",   "tld,zrc,sta/5"),  # noqa: E501
    _E.RTA:       _row("-",  "-",         "2",     "3",            "tlf/2", "tlf/3", "6",       "6",       "8",       "tld,scr/6"),  # noqa: E501
    _E.RUC:       _row("-",  "-",         "scj/2", "scj/3",        "scj/4", "scj/5", "scj/6",   "scj/7",   "scj/8",   "scj/9"),  # noqa: E501
    _E.RXJ_PLUS:  _row("-",  "-",         "2",     "3",            "4",     "5",     "6",       "6",       "8",       "9"),  # noqa: E501
    _E.RXJ_MINUS: _row("-",  "-",         "tlf/2", "tlf/3",        "tlf/2", "tlf/3", "tlf/3",   "tlf/3",   "tlf/3",   "tld,irc,str/5"),  # noqa: E501
    _E.RXR:       _row("-",  "-",         "2",     "3",            "4",     "5",     "6",       "7",       "8",       "ser/9"),  # noqa: E501
}
# fmt: on

#: TABLE[state][event] = (actions, next state); an event that is illegal in a state is absent.
TABLE: Mapping[State, Mapping[Event, tuple[tuple[str, ...], State]]] = {
    state: {
        event: (tuple(filter(None, cell[0].split(","))), cell[1])
        for event, row in _ROWS.items()
        if (cell := row[state]) is not None
    }
    for state in _COLUMNS
}

TIMED = frozenset({State.CLOSING, State.STOPPING, State.REQ_SENT, State.ACK_RCVD, State.ACK_SENT})
NEGOTIATING = frozenset({State.REQ_SENT, State.ACK_RCVD, State.ACK_SENT})


class Owner(Protocol):
    """Who performs the actions: tlu tld tls tlf scr sca scn str sta scj ser (RFC 1661, 4.4)."""

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
            # the next expiry is TO-: the peer has one period to hang up (RFC 1661, 4.4)
            self._restarts = 0
            self.deadline = now + self.timing.restart
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

    def hurry(self, now: float) -> None:
        """The peer has just spoken while a request of ours waits for an answer.

        A request older than half a second was probably sent before the peer listened (a guest that starts
        its pppd long after the line was opened), so it is repeated now, and a younger one half a second
        after it was sent, instead of up to three seconds later.
        """
        if self.state in (State.REQ_SENT, State.ACK_SENT):
            self._restarts = max(self._restarts, self.timing.max_configure - 1)
            self.deadline = min(self.deadline, max(now, self._requested_at + HURRY_SECONDS))
            self.tick(now)
