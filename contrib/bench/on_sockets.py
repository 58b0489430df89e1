"""What is measured with many guests at once, each on a unix socket: how the cost of a packet grows with their number.

Each measure takes a Gateway class and the seconds to spend; returns row name -> figure.
"""

from __future__ import annotations

import tempfile
import time

from contrib.bench import client
from contrib.bench.gateways import Gateway, Pppgate

GUESTS = (10, 100, 250, 1000)
PER_SOCKET = 250
"""A listener serves 256 guests at once."""
NETWORK, HOST = "10.0.0.0/16", "10.0.0.2"


def many_guests(kind: type[Gateway], seconds: float) -> dict[str, float]:
    """For each number of guests a gateway of its own."""
    figures: dict[str, float] = {}
    for guests in GUESTS:
        with tempfile.TemporaryDirectory() as directory, client.udp_echo() as port, kind() as gateway:
            assert isinstance(gateway, Pppgate)
            paths = [f"{directory}/{number}" for number in range(-(-guests // PER_SOCKET))]
            gateway.serve([f"unix-listen:{path}" for path in paths], paths[-1], "--net", NETWORK)
            time.sleep(0.2)  # the start itself is another row
            before = gateway.status("VmRSS")
            crowd = client.many_guests(paths, guests, seconds, port, HOST)
            if crowd.up < guests:
                raise RuntimeError(f"only {crowd.up} of {guests} links came up")
            where = f"{guests:,} guests"
            figures |= {
                f"{where}, round trips a second": crowd.rate,
                f"{where}, median round trip, ms": crowd.median,
                f"{where}, time until all are up, s": crowd.all_up,
                f"{where}, resident memory, MB": gateway.status("VmHWM") / 1024,
                f"{where}, memory of each, KB": (gateway.status("VmHWM") - before) / guests,
            }
    return figures
