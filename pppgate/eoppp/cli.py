"""The command line of `pppgate eoppp`: from words to a Config, and every mistake to one sentence and status 2.

In: argv after the word `eoppp`.  Out: the exit status.  What runs is `pppgate.server.run(config)`.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pppgate import __version__
from pppgate.arguments import Parser, answer, tell
from pppgate.config import OF_PROGRAM, Config, build, build_network
from pppgate.settings import LOG_LEVELS

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
        a modem, dialed when the guest sends something and hung up after five minutes of silence
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
    add(
        "--demand", action="store_true", default=None, help="call when the guest sends something or asks for an address"
    )
    add("--idle", metavar="S", help="hang up after S seconds without a packet (never)")
    add(
        "--persist",
        action=argparse.BooleanOptionalAction,
        help="call again when the link ends or does not come up (yes)",
    )
    add("--tries", metavar="N", help="end after N failures in a row (never)")
    add = parser.add_argument_group("PPP and the guest").add_argument
    add("--address", metavar="A", help="the address to ask the server for")
    add("--dns", metavar="A", action="append", help="what the guest is told instead of the server's "
        "name servers; up to three")  # fmt: skip
    add("--domain", metavar="NAME", help="domain that DHCP tells the guest")
    add("--search", metavar="NAME", action="append", help="domain to look for short names in; repeatable")
    add("--lease", metavar="S", help="seconds of the guest's lease (60)")
    add("--mru", metavar="N", help="largest packet for us (1500)")
    add("--mtu", metavar="N", help="largest packet for the server, "
        "if its MRU is not smaller (1500); the guest is told")  # fmt: skip
    add("--echo-interval", metavar="S", help="seconds between echoes on a silent "
        "link, of which four in vain end it; 0 for none (10)")  # fmt: skip
    add = parser.add_argument_group("the program").add_argument
    add("--pcap", metavar="FILE", help="write every frame of both sides to FILE, for Wireshark")
    add("--log-level", metavar="LEVEL", choices=LOG_LEVELS, help="error, warning, info or debug (info)")
    add("-v", "--verbose", action="count", help="show control packets and the chat; -vv shows more")
    add("--version", action="version", version=f"pppgate {__version__}")
    return parser


def parse(argv: Sequence[str], warn: Callable[[str], None]) -> Config:
    """The Config that a command line asks for: one network whose uplink is a PPP server.  Raises ConfigError; --help
    and --version leave."""
    given: dict[str, Any] = {
        name: value for name, value in vars(parser().parse_args(list(argv))).items() if value is not None
    }
    program: dict[str, Any] = {name: given.pop(name) for name in OF_PROGRAM if name in given}
    given["links"] = given.pop("ether")
    network = build_network({"uplink": "ppp", **given}, named=_option, warn=warn)
    return replace(build(program), networks=(network,))


def _option(name: str) -> str:
    """How the user of the command line calls a setting."""
    return "--ether" if name == "links" else "--" + name.replace("_", "-")


def main(argv: Sequence[str]) -> int:
    """Run the command.  Returns the exit status: 0, 1, 2, or 128 + N after a second signal N."""
    return answer(lambda: _run(argv))


def _run(argv: Sequence[str]) -> int:
    config = parse(argv, tell)
    from pppgate.server import run

    return run(config)
