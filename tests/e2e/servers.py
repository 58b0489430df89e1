"""The host's servers for guests in tests: HTTP, echo over TCP and UDP, and a resolver; all on loopback.

In:  nothing. Out: ports. What they serve is made from a seed, so that both ends know the digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.gateway_process import free_port

KNOWN_NAME = "guest.test"
KNOWN_ADDRESS = "192.0.2.77"
LONG_NAME = "long.test"
"""Its answer does not fit into 512 octets: over UDP it comes truncated, and the client asks again over TCP."""
LONG_COUNT = 60


def content(seed: int, size: int) -> bytes:
    """Bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class _Http(BaseHTTPRequestHandler):
    """GET /SEED/SIZE gives content(SEED, SIZE); PUT or POST answers with the SHA-256 of the body."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        try:
            seed, size = (int(part) for part in self.path.strip("/").split("/"))
        except ValueError:
            self.send_error(404)
            return
        self._answer(content(seed, size), "application/octet-stream")

    def do_PUT(self) -> None:
        sha, left = hashlib.sha256(), int(self.headers.get("Content-Length", "0"))
        while left:
            block = self.rfile.read(min(left, 1 << 16))
            if not block:
                return
            sha.update(block)
            left -= len(block)
        self._answer(sha.hexdigest().encode() + b"\n", "text/plain")

    do_POST = do_PUT

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _HttpServer(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A guest that is killed in mid-transfer is what some tests are about."""


class _TcpEcho(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                self.request.sendall(data)


class _UdpEcho(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, sock = self.request
        sock.sendto(data, self.client_address)


class _ThreadingTCP(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class _ThreadingUDP(socketserver.ThreadingUDPServer):
    daemon_threads = True


def answer(query: bytes, *, over_udp: bool) -> bytes:
    """The reply to a DNS query (RFC 1035 section 4.1) for the known names; NXDOMAIN for others."""
    end = 12
    labels = []
    while query[end]:
        labels.append(query[end + 1 : end + 1 + query[end]])
        end += 1 + query[end]
    name = b".".join(labels).decode("ascii", "replace").lower()
    question = query[12 : end + 5]
    kind = struct.unpack_from("!H", query, end + 1)[0]
    addresses: list[bytes] = []
    if kind == 1 and name == KNOWN_NAME:
        addresses = [socket.inet_aton(KNOWN_ADDRESS)]
    elif kind == 1 and name == LONG_NAME:
        addresses = [bytes((192, 0, 2, n)) for n in range(1, LONG_COUNT + 1)]
    known = name in (KNOWN_NAME, LONG_NAME)
    truncated = over_udp and len(addresses) > 20
    if truncated:
        addresses = []
    flags = 0x8180 | (0x0200 if truncated else 0) | (0 if known else 3)
    records = b"".join(struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + address for address in addresses)
    return query[:2] + struct.pack("!HHHHH", flags, 1, len(addresses), 0, 0) + question + records


class _DnsUdp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, sock = self.request
        sock.sendto(answer(data, over_udp=True), self.client_address)


class _DnsTcp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        stream = self.request.makefile("rb")
        while head := stream.read(2):
            reply = answer(stream.read(struct.unpack("!H", head)[0]), over_udp=False)
            self.request.sendall(struct.pack("!H", len(reply)) + reply)


class Servers:
    """Everything a guest's test talks to; the attributes are port numbers on 127.0.0.1."""

    def __init__(self) -> None:
        self._running: list[socketserver.BaseServer] = []
        self.http = self._serve(_HttpServer(("127.0.0.1", 0), _Http))
        self.tcp_echo = self._serve(_ThreadingTCP(("127.0.0.1", 0), _TcpEcho))
        self.udp_echo = self._serve(_ThreadingUDP(("127.0.0.1", 0), _UdpEcho))
        self.dns = self._serve_dns()

    def _serve(self, server: socketserver.BaseServer) -> int:
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        self._running.append(server)
        return int(server.server_address[1])  # type: ignore[index]

    def _serve_dns(self) -> int:
        """The same port for UDP and TCP."""
        for _ in range(50):
            udp = _ThreadingUDP(("127.0.0.1", 0), _DnsUdp)
            try:
                tcp = _ThreadingTCP(udp.server_address, _DnsTcp)
            except OSError:
                udp.server_close()
                continue
            self._serve(tcp)
            return self._serve(udp)
        raise OSError("no port that is free for both UDP and TCP")

    def close(self) -> None:
        for server in self._running:
            server.shutdown()
            server.server_close()


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    running = Servers()
    try:
        yield running
    finally:
        running.close()


def closed_port() -> int:
    """A port of loopback on which nobody listens."""
    return free_port()
