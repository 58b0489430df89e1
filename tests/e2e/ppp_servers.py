"""The far sides that `pppgate eoppp` dials: this project's own server, Debian's pppd as a server, the classic slirp.

In:  a tty for the server's end of the line, or nothing where the server makes one; Debian's packages.
Out: context managers; `PppdServer` is a user-mode-linux guest that serves HTTP on its own PPP address, the other two
     lead to the host's own servers.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from tests.e2e.guests import GuestError
from tests.e2e.uml import UmlGuest

HTTP_PORT = 8080
HTTPD = '''
"""GET /SEED/SIZE: so many octets that the seed makes; PUT: the SHA-256 of the body."""
import hashlib, random
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        seed, size = map(int, self.path.strip("/").split("/"))
        self.answer(random.Random(seed).randbytes(size))
    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(hashlib.sha256(body).hexdigest().encode() + b"\\n")
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
ThreadingHTTPServer(("", %d), Handler).serve_forever()
'''
# What a login on a serial line looked like: a prompt, a name, a password, and then PPP.
LOGIN = """#!/bin/sh
exec </dev/ttyS0 >/dev/ttyS0 2>/dev/null
stty 115200 cs8 -echo icanon icrnl
while :; do
    printf 'Welcome to the terminal server.\\r\\n\\r\\nlogin: '
    read -r name
    [ -n "$name" ] || continue
    printf '\\r\\nPassword: '
    read -r password
    if [ "$name" = guest ] && [ "$password" = sesame ]; then
        printf '\\r\\nPPP starts now.\\r\\n'
        exec pppd "$@" >/run/ppp.log 2>&1
    fi
    printf '\\r\\nLogin incorrect\\r\\n'
done
"""


class PppdServer(UmlGuest):
    """pppd as a server: `serve(OPTIONS)` after `start(TTY)`, `stop_serving` ends it."""

    def start(self, tty: str | os.PathLike[str], timeout: float = 60) -> Self:
        (self.share / "httpd.py").write_text(HTTPD % HTTP_PORT)
        (self.share / "login").write_text(LOGIN)
        for path in (self.share, *self.share.iterdir()):
            path.chmod(0o755)
        super().start(tty, timeout)
        self.check("python3 /mnt/httpd.py >/run/httpd.log 2>&1 </dev/null &")
        return self

    def secrets(self, name: str, password: str) -> None:
        """Who may dial in, by PAP and by CHAP."""
        line = f"{name} * {password} *"
        self.check(f"for f in pap chap; do echo '{line}' >/run/etc-ppp/$f-secrets; done")

    def serve(self, local: str, remote: str, *options: str, dns: tuple[str, ...] = (), login: bool = False) -> None:
        """Wait for a client on the serial line, forever; `login`: behind a login prompt, once."""
        words = ["local", "nocrtscts", "nodetach", "nodefaultroute", f"{local}:{remote}", "file", "/dev/null", *options]
        for address in dns:
            words += ["ms-dns", address]
        if login:
            self.check(f"sh /mnt/login ttyS0 115200 {' '.join(words)} </dev/null >/dev/null 2>&1 &")
        else:
            self.start_pppd(command=f"pppd {self.serial} 115200 persist holdoff 1 maxfail 0 {' '.join(words)}")

    def stop_serving(self, number: str = "TERM") -> None:
        """End pppd; with KILL, without a word to the client."""
        self.check(f"kill -{number} $(pidof pppd); while pidof pppd >/dev/null; do sleep 0.05; done", 15)


class SlirpServer:
    """The classic slirp on a new pseudo-terminal; `tty` is the client's end.

    Started by root on a pty it takes /dev/ptmx for itself (mode 0600): it is given back here.
    """

    def __init__(self, *options: str) -> None:
        self._options = options or ("mtu 1500",)
        self._master = self._slave = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._home = Path(tempfile.mkdtemp(prefix="slirp-"))
        self.tty = ""

    def __enter__(self) -> Self:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.tty = os.ttyname(self._slave)
        self.start()
        return self

    def start(self) -> None:
        with self._ptmx_as_it_was(), (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["slirp-fullbolt", "ppp", *self._options],
                stdin=self._master,
                stdout=self._master,
                stderr=log,
                cwd=self._home,
                env={**os.environ, "HOME": str(self._home)},
            )
            self._wait_ready()

    def _wait_ready(self) -> None:
        process = self._process
        if process is None:
            raise GuestError("slirp was not started")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.7)  # it changes the mode of its terminal meanwhile
            raise GuestError(f"slirp ended at once:\n{self.log()}")

    @contextlib.contextmanager
    def _ptmx_as_it_was(self) -> Iterator[None]:
        ptmx = Path("/dev/ptmx")
        status = ptmx.stat()
        try:
            yield
        finally:
            with contextlib.suppress(PermissionError):
                os.chown(ptmx, status.st_uid, status.st_gid)
                ptmx.chmod(status.st_mode & 0o777)

    def log(self) -> str:
        return (self._home / "log").read_text(errors="replace")

    def stop(self) -> None:
        """As a crash would."""
        if self._process is not None:
            with self._ptmx_as_it_was():
                self._process.kill()
                self._process.wait()
            self._process = None

    def __exit__(self, *exc: object) -> None:
        self.stop()
        for fd in (self._master, self._slave):
            with contextlib.suppress(OSError):
                os.close(fd)
