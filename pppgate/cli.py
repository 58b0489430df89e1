"""The command line: from words to a Config, and every mistake of the user to one sentence and exit status 2.

In: argv. Out: the exit status. What runs is `pppgate.server.run(config)`.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from pppgate import __version__
from pppgate.arguments import Parser, answer, tell
from pppgate.config import Config, ConfigError, build, load

_DESCRIPTION = """\
The network for anything with a serial port. A guest runs an ordinary PPP client on its serial line; pppgate
ends that PPP here and turns the guest's packets into ordinary sockets. No root, no tap device, no kernel
PPP.
"""

_LINKS = """\
links, where guests dial in (several at once are served; without one, pty:)
  pty:[SYMLINK]            a new pseudo-terminal, with a symbolic link to it if you name one
  tty:PATH                 a terminal that exists: an emulator's pty, a serial port set up already
  serial:PATH[@BAUD]       a real serial port, at 115200 baud unless you say otherwise
  tcp-listen:[HOST:]PORT   a guest for each TCP connection (HOST is 127.0.0.1)
  tcp:HOST:PORT            connect to an emulator that listens; redialed forever
  unix-listen:PATH  unix:PATH   the same with unix sockets
  stdio:                   standard input and output, for socat EXEC: or ssh
  rfc2217://HOST:PORT ...  any URL of pyserial
Ethernet cards of guests, all on one segment, in the same network as the guests that dial in
  ether:unix-listen:PATH   an emulator's card on each connection (QEMU -netdev stream)
  ether:tcp-listen:[HOST:]PORT   the same over TCP
  ether:dgram:LOCAL=REMOTE QEMU -netdev dgram, with two paths or two HOST:PORT
  ether:bochs:PORT         Bochs: ne2k with ethmod=socket, ethdev=PORT
  ether:vde:PATH           a VDE switch;   ether:fd:N   a socket that was handed over
chips of our own, for QEMU 10.1 or later (-device vfio-user-pci)
  uart:vfio-user:PATH[,model=16550A][,pace=none|line]           a serial port on a PCI card
  ne2k:vfio-user:PATH[,mac=52:54:00:12:34:56][,memory=16k|32k]  an RTL8029, a NE2000 on a PCI card

examples
  pppgate                                   make a pty and say what to paste into the emulator
  pppgate unix-listen:/tmp/com1             QEMU:      -chardev socket,id=ppp,path=/tmp/com1
                                                       -device isa-serial,chardev=ppp
  pppgate pty:/tmp/com1                     Bochs:     com1: enabled=1, mode=term, dev=/tmp/com1
                                            UML:       ssl0=tty:/tmp/com1
  pppgate tcp-listen:4000                   DOSBox-X:  serial1=nullmodem server:127.0.0.1 port:4000
                                                       transparent:1
                                            Bochs:     com1: enabled=1, mode=socket-client, dev=127.0.0.1:4000
  pppgate tty:/dev/pts/5                    86Box:     the pseudo-terminal that its serial passthrough made
                                            QEMU:      the one that -chardev pty made
  pppgate ether:unix-listen:/tmp/eth0       QEMU:      -netdev stream,id=net,addr.type=unix,addr.path=/tmp/eth0
                                                       -device ne2k_pci,netdev=net
  pppgate ether:bochs:40000                 Bochs:     ne2k: ioaddr=0x300, irq=10, mac=52:54:00:12:34:56,
                                                       ethmod=socket, ethdev=40000
  pppgate serial:/dev/ttyUSB0@115200        a real machine on a null-modem cable
  pppgate --forward tcp:8080=80 pty:        http://127.0.0.1:8080/ is the guest's web server
  pppgate --host-loopback pty:              the guest reaches the host's own servers at 10.0.2.2

  pppgate eoppp --ether LINK --ppp PORT     a guest with an Ethernet card behind any PPP server; see
                                            pppgate eoppp --help

in the guest
  pppd /dev/ttyS0 115200 noauth defaultroute usepeerdns

The exit status is 0 after SIGINT or SIGTERM, and 2 when something asked for cannot be done.
"""


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="pppgate",
        usage="pppgate [serve] [LINK ...] [options]\n       pppgate eoppp --ether LINK --ppp PORT [options]",
        description=_DESCRIPTION,
        epilog=_LINKS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("links", nargs="*", metavar="LINK", help="where guests dial in; see below")
    add = parser.add_argument_group("the guests' network").add_argument
    add("--net", metavar="NET", help="network of the guests (10.0.2.0/24)")
    add("--gateway", metavar="A", help="our address in it (the 2nd: 10.0.2.2)")
    add("--dns", metavar="A", help="where the DNS relay answers (the 3rd: 10.0.2.3)")
    add(
        "--resolver",
        metavar="A[:PORT]",
        action="append",
        help="a DNS resolver to ask instead of this host's own (/etc/resolv.conf); repeatable",
    )
    add("--guest", metavar="A", help="the first guest's address (the 15th: 10.0.2.15)")
    add(
        "--forward",
        metavar="SPEC",
        action="append",
        help="tcp|udp:[BIND:]PORT=[GUEST:]PORT, a port of the host that leads to a guest; repeatable "
        "(BIND is 127.0.0.1, GUEST the first guest)",
    )
    add(
        "--uplink",
        metavar="nat|none",
        help="what is behind the guests: sockets of this host, or nothing, so that they only reach each other (nat)",
    )
    add("--domain", metavar="NAME", help="domain that DHCP tells Ethernet guests")
    add("--search", metavar="NAME", action="append", help="domain to look for short names in; repeatable")
    add = parser.add_argument_group("what guests may reach").add_argument
    add(
        "--host-loopback",
        action=argparse.BooleanOptionalAction,
        help="lead connections to the gateway's address to 127.0.0.1 of this host",
    )
    add(
        "--internet-only",
        action=argparse.BooleanOptionalAction,
        help="deny private addresses, this host's own networks, too",
    )
    add = parser.add_argument_group("TCP connections").add_argument
    add("--tcp-idle", metavar="S", help="seconds after which an idle connection ends (7440)")
    add("--keepalive", metavar="S", help="seconds after which a silent guest is asked, 0 for never (0)")
    add = parser.add_argument_group("PPP").add_argument
    add("--auth", metavar="none|any|FILE", help="ask guests for a password: FILE is like pap-secrets (none)")
    add("--mru", metavar="N", help="largest packet we are ready to receive (1500)")
    add("--mtu", metavar="N", help="largest packet we send, if the guest's MRU is not smaller (1500)")
    add("--echo-interval", metavar="S", help="seconds between echoes on a silent link, 0 for none (30)")
    add = parser.add_argument_group("the program").add_argument
    add("--config", metavar="FILE", help="TOML file with the same names (links = [...]); options here win")
    add("--pcap", metavar="FILE", help="write every frame, PPP and Ethernet, to FILE, for Wireshark")
    add("--log-level", metavar="LEVEL", help="error, warning, info or debug (info)")
    add("-v", "--verbose", action="count", help="show control packets in words; -vv shows more")
    add("--version", action="version", version=f"pppgate {__version__}")
    return parser


def parse(argv: Sequence[str]) -> Config:
    """The Config that a command line asks for. Raises ConfigError; --help and --version leave."""
    words = list(argv)
    if words[:1] == ["serve"]:
        del words[0]
    given: dict[str, Any] = vars(parser().parse_intermixed_args(words))
    path = given.pop("config")
    given["links"] = given["links"] or None
    if given["uplink"] == "ppp":
        raise ConfigError("A PPP server behind guests with cards is pppgate eoppp; see pppgate eoppp --help.")
    return build(load(path) if path is not None else {}, given, warn=tell)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0, 2 for a mistake of the user, 128 + N after signal N."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["eoppp"]:
        from pppgate.eoppp.cli import main as eoppp

        return eoppp(words[1:])
    return answer(lambda: _serve(words))


def _serve(words: Sequence[str]) -> int:
    config = parse(words)
    from pppgate.server import run

    return run(config)
