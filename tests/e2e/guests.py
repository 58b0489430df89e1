"""A real guest seen from its console: what every kind of guest has in common.

In:  a console driven by pexpect on which a POSIX shell reads commands; the name of the guest's serial port.
Out: commands run in the guest with their status and output, pppd started, timed and stopped.
It does not know how a guest is booted (uml.py, qemu.py) nor who is at the other end of the line.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pexpect

READY = "guest-is-ready"


class GuestError(Exception):
    """The guest did not do what was asked of it; the text ends with the tail of its console or log."""


@dataclass(frozen=True)
class LinkUp:
    """What the guest's pppd reported: addresses, and seconds by the guest's own clock (10 ms steps)."""

    local: str
    remote: str
    seconds: float
    """From the moment pppd had the line, just before its first Configure-Request, to the addresses."""
    seconds_from_start: float
    """The same from the moment pppd was started."""


class Guest:
    """A booted guest. Subclasses set `console`, `serial` and implement `start`."""

    serial: str = "/dev/ttyS0"

    def __init__(self) -> None:
        self.console: pexpect.spawn[str] | None = None
        self.boot_text = ""
        self.work = Path(tempfile.mkdtemp(prefix="guest-"))
        self.log = (self.work / "console.log").open("w", encoding="utf-8")

    def start(self, tty: str | os.PathLike[str], timeout: float = 60) -> Self:
        """Boot with `tty` (a path of the host) as the other end of the guest's serial port."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    # ---- the console ----

    def spawn(self, argv: list[str], timeout: float, **options: Any) -> None:
        """Run the guest's own process with its console on a pty and wait for the shell in it."""
        self.console = pexpect.spawn(
            argv[0],
            argv[1:],
            encoding="utf-8",
            codec_errors="replace",
            echo=False,
            timeout=timeout,
            dimensions=(24, 2000),
            **options,
        )
        self.console.logfile_read = self.log
        try:
            self.console.expect_exact(READY)
            self.boot_text = str(self.console.before)
        except (pexpect.TIMEOUT, pexpect.EOF):
            raise GuestError(f"the guest did not boot within {timeout:.0f} s:\n{self.tail()}") from None

    def run(self, command: str, timeout: float = 30) -> tuple[int, str]:
        """Run a shell command in the guest; returns its exit status and what it printed."""
        if self.console is None:
            raise GuestError("the guest is not running")
        token = uuid.uuid4().hex[:12]
        self.console.sendline(f'{{ {command}\n}} </dev/null 2>&1; echo "{token[:6]}""{token[6:]} $?"')
        try:
            self.console.expect(rf"{token} (\d+)\r?\n", timeout=timeout)
        except pexpect.TIMEOUT:
            raise GuestError(f"no end of {command!r} within {timeout:.0f} s:\n{self.tail()}") from None
        except pexpect.EOF:
            raise GuestError(f"the guest died in {command!r}:\n{self.tail()}") from None
        match = self.console.match
        assert isinstance(match, re.Match)
        text = str(self.console.before or "").replace("\r\n", "\n").replace("\r", "")
        return int(match.group(1)), text.strip("\n")

    def check(self, command: str, timeout: float = 30) -> str:
        """As `run`, but a status other than 0 is a GuestError with the output; returns the output."""
        status, output = self.run(command, timeout)
        if status:
            raise GuestError(f"status {status} from {command!r}:\n{output}")
        return output

    def tail(self, lines: int = 25) -> str:
        self.log.flush()
        text = (self.work / "console.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def kill(self) -> None:
        """End it as a power cut would; what it left on the host is removed."""
        if self.console is not None:
            assert self.console.pid is not None
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.console.pid, signal.SIGKILL)
            with contextlib.suppress(pexpect.ExceptionPexpect, OSError):
                self.console.close(force=True)
            self.console = None
        self.log.close()
        shutil.rmtree(self.work, ignore_errors=True)

    # ---- pppd ----

    def dial(self, *options: str, timeout: float = 20, command: str | None = None) -> LinkUp:
        """Start pppd as a user of the guest would and wait for its addresses.

        `options` are appended to `pppd SERIAL 115200 noauth nodetach`; `command` replaces all of it.
        """
        self.start_pppd(*options, command=command)
        return self.wait_link_up(timeout)

    def dial_promptly(self, *options: str) -> LinkUp:
        """As `dial`, and once more if the link took a retransmission: user-mode-linux now and then misses the signal
        for its line, and reads what came last only when more comes. Twice in a row is not its doing."""
        link = self.dial(*options)
        if link.seconds >= 1:
            self.hang_up()
            link = self.dial(*options)
        return link

    def start_pppd(self, *options: str, command: str | None = None) -> None:
        line = command or shlex.join(["pppd", self.serial, "115200", "noauth", "nodetach", *options])
        stamp = 'while read -r line; do read -r up idle </proc/uptime; echo "$up $line"; done'
        self.check(
            "rm -f /run/ppp.log /run/ppp.begun; read -r up idle </proc/uptime; echo $up >/run/ppp.begun\n"
            f'( {line} 2>&1; echo "status $?" ) </dev/null | {stamp} >/run/ppp.log &'
        )

    def pppd_log(self) -> str:
        """What pppd has printed so far, each line with the guest's uptime before it."""
        return self.run("cat /run/ppp.log")[1]

    def wait_pppd(self, pattern: str, timeout: float = 20) -> str:
        """Wait until a line of pppd's output matches (grep -E); returns the whole output."""
        wait = f"until grep -qE {shlex.quote(pattern)} /run/ppp.log; do sleep 0.05; done"
        try:
            status, _ = self.run(f"timeout {timeout:.0f} sh -c {shlex.quote(wait)}", timeout + 10)
        except GuestError as e:
            raise GuestError(f"pppd never said {pattern!r}: {e}") from None
        log = self.pppd_log()
        if status:
            raise GuestError(f"pppd did not say {pattern!r} within {timeout:.0f} s; it said:\n{log}")
        return log

    def wait_link_up(self, timeout: float = 20) -> LinkUp:
        log = self.wait_pppd("remote IP address|status [0-9]", timeout)
        remote = re.search(r"^([\d.]+) remote IP address ([\d.]+)", log, re.MULTILINE)
        local = re.search(r"local +IP address ([\d.]+)", log)
        connect = re.search(r"^([\d.]+) Connect:", log, re.MULTILINE)
        if not (remote and local and connect):
            raise GuestError(f"pppd ended without a link; it said:\n{log}")
        up = float(remote[1])
        begun = float(self.check("cat /run/ppp.begun").strip())
        return LinkUp(local[1], remote[2], up - float(connect[1]), up - begun)

    def hang_up(self, timeout: float = 10) -> str:
        """Ask pppd to end the link and wait until it has gone; returns its output."""
        self.run("kill $(pidof pppd)")
        return self.wait_pppd("status [0-9]", timeout)

    def default_route(self) -> None:
        """What `defaultroute` would have done, for a pppd that was started without it."""
        self.check("ip route replace default dev ppp0")
