"""The command line of `pppgate eoppp`: from words to an EopppConfig, and every mistake to one sentence and status 2.

In: argv after the word `eoppp`.  Out: the exit status.  What runs is `pppgate.eoppp.run(config)`.
"""

import argparse
import os
import stat
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from typing import Any, Final

from lcp.link import Credentials
from pppgate import __version__
from pppgate.arguments import Parser, answer, tell
from pppgate.config import LOG_LEVELS, ConfigError
from pppgate.config import build as build_config

PASSWORD_MOST: Final = 255
"""Octets of a name or password (RFC 1334 section 2.2.1)."""
MTU_LEAST: Final = 68
"""RFC 791 section 3.2."""
MTU_MOST: Final = 1500
"""What an Ethernet guest takes."""

_DESCRIPTION = """\
Ethernet over PPP: a guest that has only a network card, behind any PPP server. The server is called over a
serial line; the guest gets, by DHCP, the very address and name servers that PPP negotiated, and its packets
go to the server as they are. Broadcasts and everything that is not IP stay among the guests. No root, no
kernel PPP, no translation of addresses.
"""

_EPILOG = """\
the cable (--ether), where the guest's card is
  ether:unix-listen:PATH       QEMU: -netdev stream,id=net,addr.type=unix,addr.path=PATH -device ne2k_pci,netdev=net
  ether:tcp-listen:[HOST:]PORT  ether:dgram:LOCAL=REMOTE  ether:bochs:PORT  ether:vde:PATH  ether:fd:N
the line (--ppp), where the server is: any serial link of pppgate
  serial:PATH[@BAUD]  tty:PATH  pty:[SYMLINK]  tcp:HOST:PORT  tcp-listen:[HOST:]PORT  unix:PATH  stdio:  rfc2217://...

examples
  pppgate eoppp --ether ether:unix-listen:/tmp/eth0 --ppp serial:/dev/ttyUSB0@115200
        a null-modem cable to a machine where pppd waits: pppd ttyUSB0 115200 local 10.9.0.1:10.9.0.2 ms-dns 9.9.9.9
  pppgate eoppp --ether ether:bochs:40000 --ppp serial:/dev/ttyS0@57600 --chat isp.chat \\
                --user me --password-file ~/.isp-password --demand --idle 300
        a modem, dialled when the guest sends something and hung up after five minutes of silence
  pppgate unix-listen:/tmp/ppp  and  pppgate eoppp --ether ether:unix-listen:/tmp/eth0 --ppp unix:/tmp/ppp
        this project at both ends
  socat PTY,link=/tmp/slirp,raw,echo=0 EXEC:'slirp-fullbolt ppp',pty,raw,echo=0  and  ... --ppp tty:/tmp/slirp
        the classic slirp

a chat script says what is said to a modem or a login prompt first: words to expect and to send, in turn
  ABORT BUSY  ABORT "NO CARRIER"  TIMEOUT 60     # what makes it give up, and seconds of patience
  "" ATZ  OK ATDT5551234  CONNECT \\d\\c           # "" expects nothing; \\d waits a second, \\c sends no return
  ogin:--ogin: guest  word: \\qsesame             # no prompt in time: a return, and again; \\q hides what is sent
It needs pexpect: pip install 'pppgate[chat]'.

A link that ends is made again after 1 to 30 seconds. When that brings another address, the guest learns it when
it renews its lease, after half of --lease.

The exit status is 0 after SIGINT or SIGTERM, 1 when no link came up and no more is tried, 2 when something asked
for cannot be done.
"""


def _whole(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"a whole number from {least} to {most} is needed, not {text}")
        return int(text)

    return number


def _seconds(least: float, most: float = 86400.0) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not least <= seconds <= most:
            raise argparse.ArgumentTypeError(f"a number of seconds from {least:g} to {most:g} is needed, not {text}")
        return seconds

    return number


def _address(text: str) -> bytes:
    try:
        address = IPv4Address(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not an IPv4 address") from None
    if address.is_multicast or address.is_loopback or address.packed[0] in (0, 255):
        raise argparse.ArgumentTypeError(f"{text} is not the address of a host")
    return address.packed


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="pppgate eoppp",
        usage="pppgate eoppp --ether LINK --ppp LINK [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument_group("the two sides").add_argument
    add("--ether", metavar="LINK", action="append", required=True, help="the guest's cable; see below; repeatable")
    add("--ppp", metavar="LINK", required=True, help="the line to the PPP server; see below")
    add = parser.add_argument_group("the call").add_argument
    add("--chat", metavar="FILE", help="a chat script, played on the line before PPP begins")
    add("--user", metavar="NAME", help="who we are, if the server asks (PAP or CHAP with MD5)")
    add("--password-file", metavar="FILE", help="a file whose first line is the password")
    add("--demand", action="store_true", help="call when the guest sends something or asks for an address")
    add("--idle", metavar="S", type=_seconds(0), default=0.0, help="hang up after S seconds without a packet (never)")
    add(
        "--persist",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="call again when the link ends or does not come up (yes)",
    )
    add("--tries", metavar="N", type=_whole(0, 1000), default=0, help="end after N failures in a row (never)")
    add = parser.add_argument_group("PPP and the guest").add_argument
    add("--address", metavar="A", type=_address, default=bytes(4), help="the address to ask the server for")
    add("--dns", metavar="A", type=_address, action="append", help="what the guest is told instead of the server's "
        "name servers; up to three")  # fmt: skip
    add("--domain", metavar="NAME", help="domain that DHCP tells the guest")
    add("--search", metavar="NAME", action="append", help="domain to look for short names in; repeatable")
    add("--lease", metavar="S", type=_seconds(10), default=60.0, help="seconds of the guest's lease (60)")
    add("--mru", metavar="N", type=_whole(128, MTU_MOST), default=1500, help="largest packet for us (1500)")
    add("--mtu", metavar="N", type=_whole(MTU_LEAST, MTU_MOST), default=1500, help="largest packet for the server, "
        "if its MRU is not smaller (1500); the guest is told")  # fmt: skip
    add("--echo-interval", metavar="S", type=_seconds(0), default=10.0, help="seconds between echoes on a silent "
        "link, of which four in vain end it; 0 for none (10)")  # fmt: skip
    add = parser.add_argument_group("the program").add_argument
    add("--pcap", metavar="FILE", help="write every frame of both sides to FILE, for Wireshark")
    add("--log-level", metavar="LEVEL", choices=LOG_LEVELS, default="info", help="error, warning, info or debug (info)")
    add("-v", "--verbose", action="count", default=0, help="show control packets and the chat; -vv shows more")
    add("--version", action="version", version=f"pppgate {__version__}")
    return parser


def parse(argv: Sequence[str], warn: Callable[[str], None]) -> Any:
    """The EopppConfig that a command line asks for.  Raises ConfigError; --help and --version leave."""
    from pppgate.eoppp.wiring import EopppConfig

    given: dict[str, Any] = vars(parser().parse_args(list(argv)))
    user, password_file, chat = given.pop("user"), given.pop("password_file"), given.pop("chat")
    names = build_config({"domain": given.pop("domain"), "search": given.pop("search")})  # checked as for the NAT
    given["ether"] = tuple(given["ether"])
    given["dns"] = tuple(given["dns"] or ())[:3]
    if given["demand"] and not given["persist"]:
        raise ConfigError("--demand calls again and again; it cannot be had with --no-persist.")
    return EopppConfig(
        **given,
        domain=names.domain,
        search=names.search,
        credentials=credentials(user, password_file, warn),
        chat=_chat(chat),
    )


def credentials(user: str | None, path: str | None, warn: Callable[[str], None]) -> Credentials | None:
    """Name and password.  Raises ConfigError."""
    if user is None and path is None:
        return None
    if user is None:
        raise ConfigError("--password-file is of no use without a name; give it with --user NAME.")
    if path is None:
        raise ConfigError("--user needs a password; write it into a file and name that with --password-file FILE.")
    name, password = user.encode("utf-8", "surrogateescape"), _read_password(os.path.expanduser(path), warn)
    for what, value in (("name", name), ("password", password)):
        if not 0 < len(value) <= PASSWORD_MOST:
            raise ConfigError(f"The {what} has {len(value)} octets; PPP takes 1 to {PASSWORD_MOST}.")
    return Credentials(name, password)


def _read_password(path: str, warn: Callable[[str], None]) -> bytes:
    try:
        with open(path, "rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                warn(f"Others may read the password file {path}; take that from them with chmod 600 {path}.")
            line = file.readline(PASSWORD_MOST + 3)
    except OSError as error:
        raise ConfigError(f"The password file {path} cannot be read: {error.strerror}.") from None
    if not line.strip(b"\r\n"):
        raise ConfigError(f"The first line of the password file {path} is empty; write the password there.")
    return line.rstrip(b"\r\n")


def _chat(path: str | None) -> Any:
    from pppgate.eoppp.chat import ChatError, load
    from pppgate.eoppp.conversation import need_pexpect

    if path is None:
        return ()
    try:
        steps = load(os.path.expanduser(path))
        need_pexpect()
    except ChatError as error:
        raise ConfigError(str(error)) from None
    return steps


def main(argv: Sequence[str]) -> int:
    """Run the command.  Returns the exit status: 0, 1, 2, or 128 + N after a second signal N."""
    return answer(lambda: _run(argv))


def _run(argv: Sequence[str]) -> int:
    config = parse(argv, tell)
    from pppgate.eoppp.wiring import run

    return run(config)
