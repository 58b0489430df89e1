"""What is measured with the fast PPP client on a pty: throughput, its cost, ping, memory, flows, idling, start.

Each measure takes a started-on-demand Gateway class and the seconds to spend; returns row name -> figure.
"""

from __future__ import annotations

import os
import select
import socket
import statistics
import subprocess
import sys
import threading
import time
import tty

from contrib.bench import client
from contrib.bench.gateways import Gateway, RawPty

FLOWS = 1000


def lcp_request() -> bytes:
    """An LCP Configure-Request without options, in default framing: anything that speaks PPP answers it at once."""
    body = bytes.fromhex("ff03c02101010004")
    fcs = 0xFFFF
    for octet in body:  # RFC 1662 appendix C
        fcs ^= octet
        for _ in range(8):
            fcs = fcs >> 1 ^ 0x8408 if fcs & 1 else fcs >> 1
    body += (fcs ^ 0xFFFF).to_bytes(2, "little")
    escaped = bytearray()
    for octet in body:
        escaped += bytes((0x7D, octet ^ 0x20)) if octet < 0x20 or octet in b"\x7d\x7e" else bytes((octet,))
    return b"~" + escaped + b"~"


def transfer(kind: type[Gateway], seconds: float, *, into_guest: bool) -> dict[str, float]:
    way = "into" if into_guest else "out of"
    row = f"pty, iperf3 {way} the guest, Mbit/s"
    if kind is RawPty:
        return {row: client.raw_pty(seconds, into_guest)}
    with kind().start() as gateway, client.iperf3_server() as port:
        before = gateway.cpu_seconds()
        report = client.run(gateway.tty, *client.iperf3_words(port, seconds, into_guest))
        rate, octets = client.received(report)
        cost = (gateway.cpu_seconds() - before) / (octets / 1e8)
        return {
            row: rate,
            f"pty, CPU seconds per 100 MB {way} the guest": cost,
            f"pty, peak memory {way} the guest, MB": gateway.status("VmHWM") / 1024,
        }


def out(kind: type[Gateway], seconds: float) -> dict[str, float]:
    return transfer(kind, seconds, into_guest=False)


def into(kind: type[Gateway], seconds: float) -> dict[str, float]:
    return transfer(kind, seconds, into_guest=True)


def ping(kind: type[Gateway], seconds: float) -> dict[str, float]:
    with kind().start() as gateway:
        text = client.run(gateway.tty, "ping", "-c", str(int(seconds * 20)), "-i", "0.05", client.HOST)
        return {"pty, ping, ms": statistics.median(client.ping_times(text))}


# In the guest: open the flows, exchange an octet on each, then hold them until standard input ends.
OPEN_FLOWS = """
import socket, sys
flows = []
for n in range(int(sys.argv[2])):
    s = socket.create_connection(("10.0.2.2", int(sys.argv[1])), 10)
    s.sendall(b"x")
    flows.append(s)
for s in flows:
    s.settimeout(10)
    if s.recv(1) != b"x":
        sys.exit("a flow was lost")
print("open", flush=True)
sys.stdin.read()
"""


def _echo(server: socket.socket) -> None:
    poll, flows = select.poll(), {server.fileno(): server}
    poll.register(server, select.POLLIN)
    while True:
        for number, _ in poll.poll():
            try:
                if number == server.fileno():
                    flow = server.accept()[0]
                    flows[flow.fileno()] = flow
                    poll.register(flow, select.POLLIN)
                elif data := flows[number].recv(65536):
                    flows[number].sendall(data)
                else:
                    poll.unregister(number)
                    flows.pop(number).close()
            except OSError:
                return


def flows(kind: type[Gateway], seconds: float) -> dict[str, float]:
    row = f"pty, memory with {FLOWS:,} open flows, MB"
    with kind().start() as gateway, socket.create_server(("127.0.0.1", 0), backlog=FLOWS) as server:
        threading.Thread(target=_echo, args=(server,), daemon=True).start()
        script = [sys.executable, "-c", OPEN_FLOWS, str(server.getsockname()[1]), str(FLOWS)]
        words = client.guest_command(gateway.tty, *script)
        guest = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            assert guest.stdout is not None and guest.stdin is not None
            ready, _, _ = select.select([guest.stdout], [], [], 60)
            if not ready or guest.stdout.readline() != b"open\n":
                raise RuntimeError(f"{FLOWS} flows could not be opened at once")
            return {row: gateway.status("VmRSS") / 1024}
        finally:
            guest.kill()
            guest.wait()


def idle(kind: type[Gateway], seconds: float) -> dict[str, float]:
    """Voluntary context switches while the link is up and nothing is sent."""
    with kind().start() as gateway:
        words = client.guest_command(gateway.tty, "sleep", str(seconds + 3))
        guest = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        try:
            time.sleep(2)
            before = gateway.status("voluntary_ctxt_switches")
            time.sleep(seconds)
            return {f"idle, wake-ups in {seconds:g} s": gateway.status("voluntary_ctxt_switches") - before}
        finally:
            guest.kill()
            guest.wait()


def ready(kind: type[Gateway], seconds: float) -> dict[str, float]:
    """Seconds from the start of the process to its first answer on the line."""
    gateway = kind()
    with gateway.start():
        line = os.open(gateway.tty, os.O_RDWR | os.O_NOCTTY)
        try:
            tty.setraw(line)
            os.write(line, lcp_request())
            if not select.select([line], [], [], 10)[0]:
                raise RuntimeError("nothing was answered")
            return {"from start to the first answer, s": time.monotonic() - gateway.started}
        finally:
            os.close(line)
