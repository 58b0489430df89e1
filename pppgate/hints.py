"""What to paste into an emulator so that its guest dials in on a link.

In: a started link. Out: lines for the user. The syntax is that of QEMU's -chardev, Bochs's bochsrc, 86Box's
86box.cfg, DOSBox-X's [serial] section and user-mode-linux's ssl0=, as their manuals and sources have it.

QEMU opens a pty with -chardev serial, and then asks it for modem lines, which a pty does not have: its guest sees
neither carrier nor clear-to-send, and a pppd with Debian's options (modem, crtscts) waits forever. On a socket QEMU
shows both.
"""

import json

from pppgate.ether.links.port import EtherLink
from serialport.port import Link

_NE2K = "-device ne2k_pci,netdev=net"
_SHARED = "-object memory-backend-memfd,id=ram,size=256M,share=on -machine memory-backend=ram -m 256M"


def hints(link: Link | EtherLink) -> list[str]:
    """Pairs of emulator and line as "QEMU   -chardev ...", in the order in which people look for them."""
    match link.scheme:
        case "pty":
            lines = _pty(link.path, getattr(link, "slave_path", link.path))
        case "tcp-listen":
            lines = _tcp_listen(link.path)
        case "unix-listen":
            lines = _qemu_socket(f"path={_qemu(link.path)}")
        case "tcp":
            lines = _tcp(link.path)
        case "unix":
            lines = _qemu_socket(f"path={_qemu(link.path)},server=on,wait=off")
        case "tty" if link.path.startswith("/dev/pts/"):
            lines = [("", "the emulator that made this pseudo-terminal needs nothing more")]
        case "tty" | "serial":
            lines = [
                (
                    "pppd",
                    f"on the other end of the cable: pppd ttyS0 {_speed(link.url)} crtscts local noauth defaultroute",
                )
            ]
        case "ether:unix-listen":
            lines = [("QEMU", f"-netdev stream,id=net,addr.type=unix,addr.path={_qemu(link.path)} {_NE2K}")]
        case "ether:tcp-listen":
            host, port = _split(link.path)
            lines = [("QEMU", f"-netdev stream,id=net,addr.type=inet,addr.host={host},addr.port={port} {_NE2K}")]
        case "ether:dgram":
            lines = _dgram(link.path)
        case "ether:bochs":
            lines = [("Bochs", f"ne2k: ioaddr=0x300, irq=10, mac=52:54:00:12:34:56, ethmod=socket, ethdev={link.path}")]
        case "uart:vfio-user" | "ne2k:vfio-user":
            lines = [("QEMU 10.1", _vfio_user(link.path)), ("", f"          {_SHARED}")]
        case "stdio":
            lines = [("socat", "socat /dev/pts/N,raw,echo=0 EXEC:'pppgate stdio:'")]
        case _:
            lines = []
    return [f"{name:<9} {line}".rstrip() if name else line for name, line in lines]


def start_lines(link: Link | EtherLink, network: str = "") -> list[str]:
    """All that is said about a link at the start: what it is, then the hints, indented.  `network`: its name, where
    there are several."""
    of = f" of the network {network}" if network else ""
    return [f"Waiting for guests{of} on {link.description}.", *("    " + line for line in hints(link))]


def _pty(path: str, slave: str) -> list[tuple[str, str]]:
    device = slave.removeprefix("/dev/")  # DOSBox-X puts /dev/ before it
    return [
        ("QEMU", f"-chardev serial,id=ppp,path={_qemu(path)} -device isa-serial,chardev=ppp"),
        ("", "          its guest sees no carrier on a pty: pppd needs 'local nocrtscts'; unix-listen: is better"),
        ("Bochs", f"com1: enabled=1, mode=term, dev={path}"),
        ("86Box", "in 86box.cfg, section [Ports (COM & LPT)]: serial1_passthrough_enabled = 1"),
        ("", f"          section [Serial Passthrough Device #1]: mode = 3, host_serial_path = {path}"),
        ("DOSBox-X", f"serial1=directserial realport:{device}"),
        ("UML", f"ssl0=tty:{path}"),
    ]


def _tcp_listen(path: str) -> list[tuple[str, str]]:
    host, port = _split(path)
    return [
        *_qemu_socket(f"host={host},port={port}"),
        ("Bochs", f"com1: enabled=1, mode=socket-client, dev={host}:{port}"),
        ("DOSBox-X", f"serial1=nullmodem server:{host} port:{port} transparent:1"),
    ]


def _tcp(path: str) -> list[tuple[str, str]]:
    host, port = _split(path)
    return [
        *_qemu_socket(f"host={host},port={port},server=on,wait=off"),
        ("Bochs", f"com1: enabled=1, mode=socket-server, dev={host}:{port}"),
        ("DOSBox-X", f"serial1=nullmodem port:{port} transparent:1"),
    ]


def _dgram(path: str) -> list[tuple[str, str]]:
    """QEMU's local end is our remote one."""
    ours, _, theirs = path.partition("=")
    ends = [("local", theirs), ("remote", ours)]
    if "/" in path:
        words = ",".join(f"{name}.type=unix,{name}.path={_qemu(end)}" for name, end in ends)
    else:
        words = ",".join(
            f"{name}.type=inet,{name}.host={host},{name}.port={port}"
            for name, (host, port) in ((name, _split(end)) for name, end in ends)
        )
    return [("QEMU", f"-netdev dgram,id=net,{words} {_NE2K}")]


def _vfio_user(path: str) -> str:
    device = {"driver": "vfio-user-pci", "socket": {"type": "unix", "path": path}}
    return f"-device '{json.dumps(device)}'"


def _qemu_socket(options: str) -> list[tuple[str, str]]:
    return [("QEMU", f"-chardev socket,id=ppp,{options} -device isa-serial,chardev=ppp")]


def _qemu(path: str) -> str:
    """QEMU's option parser takes a comma for the end of a value unless it is doubled."""
    return path.replace(",", ",,")


def _split(path: str) -> tuple[str, str]:
    """Host and port as an emulator shall dial them."""
    host, _, port = path.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port


def _speed(url: str) -> str:
    _, at, speed = url.rpartition("@")
    return speed if at and speed.isdigit() else "115200"
