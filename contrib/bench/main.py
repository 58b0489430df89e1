"""pppgate and others on the same work, alternating, in one go: tables of medians and ratios.

On serial lines the other is the classic slirp, on Ethernet cards QEMU's own libslirp; our chips in an emulator have
no other to be compared with.

In:  options; Debian's slirp, iperf3, iputils-ping and a C compiler (and for the last rows user-mode-linux, ppp,
     qemu-system-x86). Out: progress on standard error, the tables in Markdown on standard output.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from contrib.bench import on_ether, on_pty, on_sockets, with_pppd
from contrib.bench.gateways import Gateway, Libslirp, PlainPppgate, Pppgate, RawPty, Slirp

Measure = Callable[[type[Gateway], float], dict[str, float]]
Table = dict[str, dict[str, list[float]]]
"""Row -> gateway -> figures."""


@dataclass(frozen=True)
class Work:
    """One measure: its name for --only, how long it runs, how often."""

    name: str
    measure: Measure
    seconds: float
    quick_seconds: float
    rounds: int = 3
    needs: tuple[str, ...] = ()
    reference: type[Gateway] | None = Slirp
    """Whom ours is compared with."""
    limit: type[Gateway] | None = None
    """What nobody can exceed, measured in turn with the others."""


WORK = (
    Work("out", on_pty.out, 8, 3, 5, ("cc", "iperf3"), limit=RawPty),
    Work("into", on_pty.into, 8, 3, 5, ("cc", "iperf3"), limit=RawPty),
    Work("ping", on_pty.ping, 3, 1, 3, ("cc", "ping")),
    Work("flows", on_pty.flows, 0, 0, 1, ("cc",)),
    Work("idle", on_pty.idle, 10, 3, 1, ("cc",)),
    Work("ready", on_pty.ready, 0, 0, 5),
    Work("many", on_sockets.many_guests, 4, 2, 3, ("cc",), None),
    Work("uml", with_pppd.uml, 5, 2, 3, ("linux.uml", "pppd", "iperf3")),
    Work("qemu", with_pppd.qemu, 10, 5, 3, ("qemu-system-x86_64", "pppd", "iperf3")),
    Work("qemu-socket", with_pppd.qemu_socket, 10, 5, 3, ("qemu-system-x86_64", "pppd", "iperf3")),
    Work("ne2k", on_ether.ne2k, 6, 3, 5, ("qemu-system-x86_64", "busybox", "iperf3"), Libslirp),
    Work("devices", on_ether.devices, 15, 6, 3, ("busybox", "iperf3", "pppd"), None),
)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(work: Work, kinds: list[type[Gateway]], quick: bool, rounds: int | None) -> Table:
    """The gateways take turns, so that a busy machine is busy for each of them."""
    table: Table = {}
    seconds = work.quick_seconds if quick else work.seconds
    for turn in range(rounds or (1 if quick else work.rounds)):
        for kind in kinds:
            begun = time.monotonic()
            try:
                figures = work.measure(kind, seconds)
            except Exception as e:
                say(f"{work.name}, {kind.name}: failed: {type(e).__name__}: {e}")
                continue
            for row, figure in figures.items():
                table.setdefault(row, {}).setdefault(kind.name, []).append(figure)
            shown = "; ".join(f"{row}: {figure:.3g}" for row, figure in figures.items())
            say(f"{work.name} {turn + 1}, {kind.name} ({time.monotonic() - begun:.0f} s): {shown}")
    return table


def number(value: float | None, name: str) -> str:
    if value is None:
        return "" if name == RawPty.name else "failed"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def markdown(table: Table, kinds: list[type[Gateway]], compared: type[Gateway] | None) -> str:
    """Medians, and each of ours as a multiple of the reference's and as a share of the limit."""
    reference = compared.name if compared in kinds and compared is not None else None
    ours = [kind.name for kind in kinds if kind.name != reference]
    limit = RawPty.name if any(RawPty.name in figures for figures in table.values()) else None
    bases = [base for base in (reference, limit) if base]
    names = [*([reference] if reference else []), *ours, *([limit] if limit else [])]
    head = ["work", *names, *(f"{name} : {base}" for base in bases for name in ours)]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for row, figures in table.items():
        medians = {name: statistics.median(figures[name]) for name in names if name in figures}
        cells = [number(medians.get(name), name) for name in names]
        cells += [ratio(medians.get(name), medians.get(base)) for base in bases for name in ours]
        lines.append("| " + " | ".join([row, *cells]) + " |")
    return "\n".join(lines)


def ratio(value: float | None, base: float | None) -> str:
    return f"{value / base:.2f}" if base and value is not None else ""


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="contrib/bench/run", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short round of each")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        choices=[work.name for work in WORK],
        help="only this measure (repeatable): " + ", ".join(work.name for work in WORK),
    )
    parser.add_argument("--rounds", type=int, help="how often each measure is repeated")
    parser.add_argument("--no-fast", action="store_true", help="measure pppgate without fastcrc")
    parser.add_argument("--both", action="store_true", help="measure pppgate with and without it")
    parser.add_argument("--no-slirp", action="store_true", help="pppgate alone")
    parser.add_argument("--slirp-only", action="store_true", help="slirp alone")
    return parser.parse_args(argv)


def chosen(options: argparse.Namespace, reference: type[Gateway] | None) -> list[type[Gateway]]:
    kinds: list[type[Gateway]] = [] if options.no_slirp or reference is None else [reference]
    if not options.slirp_only:
        kinds += [Pppgate, PlainPppgate] if options.both else [PlainPppgate if options.no_fast else Pppgate]
    if Slirp in kinds and shutil.which("slirp-fullbolt") is None:
        say("slirp is missing (Debian package slirp): only pppgate is measured")
        kinds.remove(Slirp)
    return kinds


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    tables: dict[type[Gateway] | None, Table] = {}
    begun = time.monotonic()
    try:
        for work in WORK:
            if options.only and work.name not in options.only:
                continue
            if missing := [program for program in work.needs if shutil.which(program) is None]:
                say(f"{work.name}: skipped, {', '.join(missing)} missing")
                continue
            kinds = chosen(options, work.reference) + ([work.limit] if work.limit else [])
            tables.setdefault(work.reference, {}).update(measure(work, kinds, options.quick, options.rounds))
    except KeyboardInterrupt:
        say("interrupted; so far:")
    for reference, table in tables.items():
        print(markdown(table, chosen(options, reference), reference), end="\n\n")
    with open("/proc/cpuinfo") as info:
        model = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), "")
    print(
        f"{datetime.date.today()}, {os.cpu_count()} x {model}, Linux {os.uname().release}, "
        f"{time.monotonic() - begun:.0f} s in all"
    )
    return 0
