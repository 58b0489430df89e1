"""What stations, flows and the gateway say that they are: plain data, however many they are."""

from __future__ import annotations

import json
from typing import Any

from nat.station import FLOWS_TOLD_MOST
from nat.udp import TOLD_MOST
from nat.wire.tcp import SYN, build_segment
from tests.nat.test_everything_asks import WAYS, Net
from tests.support.fakes import GUEST, SERVER, udp


def plain(status: object) -> Any:
    """The same after JSON, which it must survive as it is."""
    read = json.loads(json.dumps(status, allow_nan=False))
    assert read == status
    return read


def test_a_gateway_with_flows_of_all_kinds() -> None:
    net = Net()
    for way in ("tcp", "udp", "ping", "forward, tcp", "forward, udp", "dns"):
        WAYS[way][0](net)
    status = plain(net.gateway.status(3.0))
    assert (status["network"], status["address"], status["dns"]) == ("lan", "10.0.2.2", "10.0.2.3")
    assert status["dns_outstanding"] == 1
    assert status["forwards"] == [
        {"protocol": "tcp", "guest": "10.0.2.15", "guest_port": 80, "resting": False},
        {"protocol": "udp", "guest": "10.0.2.15", "guest_port": 80, "callers": 1},
    ]
    guest, other = status["stations"]
    assert (guest["guest"], guest["up"], guest["mtu"], guest["connecting"]) == ("10.0.2.15", True, 1500, 1)
    tcp, datagrams, echo = guest["flows"]
    assert (tcp["protocol"], tcp["guest_port"], tcp["state"]) == ("tcp", 80, "calling the guest")
    assert tcp["outside"].startswith("10.0.2.2:")
    assert datagrams == {
        "protocol": "udp", "guest_port": 5000, "outside": ["203.0.113.7:6000"], "more_outside": 0, "idle": 3.0,
    }  # fmt: skip
    assert echo == {
        "protocol": "icmp", "identifier": 7, "outside": ["203.0.113.7"], "more_outside": 0, "idle": 3.0,
    }  # fmt: skip
    assert other["flows"] == [] and other["more_flows"] == 0


def test_a_status_is_bounded() -> None:
    net = Net()
    for port in range(1, 1025):
        net.guest.receive(udp(sport=port), 0.0)
    for port in range(1, TOLD_MOST + 4):
        net.guest.receive(udp(dport=port, sport=1), 0.0)
    status = plain(net.guest.status(0.0))
    assert len(status["flows"]) == FLOWS_TOLD_MOST and status["more_flows"] == 1024 - FLOWS_TOLD_MOST
    (first,) = (flow.status(0.0) for flow in net.guest.udp if flow.port == 1)
    assert len(plain(first)["outside"]) == TOLD_MOST and first["more_outside"] == 4


def test_a_guest_that_connects() -> None:
    net = Net()
    net.guest.receive(build_segment(GUEST, 4000, SERVER, 80, sequence=1, flags=SYN), 0.0)
    (sock,) = net.made()
    assert net.guest.status(0.0)["connecting"] == 1 and not sock.closed
