"""Where a TCP connection stands (RFC 9293 section 3.3.2, as far as a flow tells states apart)."""

from enum import Enum
from typing import Final


class State(Enum):
    """Where the handshake stands.  In ESTABLISHED the two ends' FINs are `Sender.fin_sent` and
    `Receiver.fin_received`."""

    SYN_SENT = "calling the guest"
    SYN_RCVD = "SYN+ACK sent"
    ESTABLISHED = "established"
    TIME_WAIT = "time-wait"
    CLOSED = "closed"


SYN_SENT: Final = State.SYN_SENT
SYN_RCVD: Final = State.SYN_RCVD
ESTABLISHED: Final = State.ESTABLISHED
TIME_WAIT: Final = State.TIME_WAIT
CLOSED: Final = State.CLOSED
