"""What all flows of one network share: made once with its gateway, handed to every flow.  Data only, no logic."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from nat.deadlines import Deadlines
from nat.dirty import Dirty
from nat.host import Host
from nat.rules import Rules


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that no guest can exceed, and the times (seconds) after which idle flows end."""

    tcp_flows: int = 4096  # per guest
    tcp_connecting: int = 128  # per guest: connections that the host or the guest has not answered yet
    udp_flows: int = 1024  # per guest; the least recently used makes room
    echo_flows: int = 64  # per guest
    tcp_idle: float = 7440.0  # RFC 5382 REQ-5: at least 2 h 4 min
    tcp_transitory: float = 240.0  # RFC 5382 REQ-5: at least 4 min
    tcp_keepalive: float = math.inf  # idle for so long, and the guest is asked whether it still knows the connection
    udp_idle: float = 600.0  # RFC 4787 REQ-5: at least 2 min, 5 recommended
    dns_idle: float = 30.0
    echo_idle: float = 60.0  # RFC 5508 REQ-2


@dataclass(slots=True)
class Context:
    host: Host
    rules: Rules
    deadlines: Deadlines
    random: Random
    notify: Callable[[str], None]  # one plain sentence for the person who runs the gateway; rate-limited there
    count: Counter[str] = field(default_factory=Counter)
    limits: Limits = field(default_factory=Limits)
    dirty: Dirty = field(default_factory=Dirty)
    """What has something to do when the wake-up ends; one for the whole event loop."""
    network: str = ""  # its name, for the rules
