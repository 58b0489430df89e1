"""The picture of the rooms: who may import whom, and which libraries are used where.

A room is a package or a sub-package; a file belongs to the innermost room that it lies in. ARROWS is exact: an arrow
that is not in it is an error, and so is one that is in it and no longer drawn. An import counts wherever it stands, in
a function and under TYPE_CHECKING too.

No circle: the files of the project have none. Rooms have none either, but between a room and a room inside of it:
those are one package, in which the order of the files is what holds (lcp.link imports lcp.auth, lcp.auth lcp.fsm).
"""

import ast
import sys
from collections.abc import Iterable
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ARROWS: dict[str, set[str]] = {
    # a serial port
    "serialport": set(),
    "serialport.uart16550": {"serialport"},
    # PPP
    "lcp": {"lcp.auth"},
    "lcp.auth": {"lcp"},
    "ipcp": {"lcp"},
    # packets to sockets
    "nat": {"nat.tcp", "nat.wire"},
    "nat.tcp": {"nat", "nat.wire"},
    "nat.wire": set(),
    # the gateway
    "pppgate": {
        "ipcp", "lcp", "lcp.auth", "nat", "nat.wire", "serialport", "serialport.uart16550",
        "pppgate.devices", "pppgate.dhcp", "pppgate.eoppp", "pppgate.ether", "pppgate.ether.links", "pppgate.ne2000",
    },
    "pppgate.devices": {"pppgate.ether", "pppgate.ether.links", "pppgate.ne2000", "serialport", "serialport.uart16550"},
    "pppgate.dhcp": {"ipcp", "nat", "nat.wire", "pppgate.ether"},
    "pppgate.eoppp": {
        "ipcp", "lcp", "nat", "nat.wire", "serialport",
        "pppgate", "pppgate.dhcp", "pppgate.ether",
    },
    "pppgate.ether": {"nat", "nat.wire", "pppgate.ether.links", "serialport"},
    "pppgate.ether.links": {"serialport"},
    "pppgate.ne2000": {"pppgate.ether.links", "pppgate.ne2000.dp8390", "serialport"},
    "pppgate.ne2000.dp8390": {"pppgate.ether.links"},
}  # fmt: skip

LIBRARIES = {
    "lcp.fcs": {"fastcrc"},
    "pppgate.eoppp.conversation": {"pexpect"},
    "serialport.pyserial_port": {"serial"},
}
"""What is not of the standard library, and the files that use it: in a function or a try, for it may be missing."""

PACKAGES = sorted({room.split(".")[0] for room in ARROWS})
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


@cache
def tree_of(file: str) -> ast.Module:
    return ast.parse(FILES[file].read_text())


def room_of(file: str) -> str:
    return max((room for room in ARROWS if f"{file}.".startswith(f"{room}.")), key=len)


def imported(nodes: Iterable[ast.AST]) -> set[str]:
    """The modules that import statements name: files of the project, and the first part of all others."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            names = {name if name in FILES else str(node.module) for name in names}
        else:
            continue
        found |= {name if name in FILES else name.split(".")[0] for name in names}
    return found


@cache
def all_imports(file: str) -> frozenset[str]:
    return frozenset(imported(ast.walk(tree_of(file))))


def drawn() -> dict[str, set[str]]:
    """The arrows between rooms as the files draw them."""
    arrows: dict[str, set[str]] = {room: set() for room in ARROWS}
    for file in FILES:
        arrows[room_of(file)] |= {room_of(other) for other in all_imports(file) if other in FILES}
    return {room: to - {room} for room, to in arrows.items()}


def circle(arrows: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def one_package(a: str, b: str) -> bool:
    return f"{a}.".startswith(f"{b}.") or f"{b}.".startswith(f"{a}.")


@pytest.mark.parametrize("file", FILES)
def test_only_the_allowed_arrows(file: str) -> None:
    allowed = ARROWS[room_of(file)] | {room_of(file)}
    wrong = {other for other in all_imports(file) if other in FILES and room_of(other) not in allowed}
    assert not wrong, f"{file} may not import {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("room", ARROWS)
def test_every_allowed_arrow_is_drawn(room: str) -> None:
    missing = ARROWS[room] - drawn()[room]
    assert not missing, f"no file of {room} imports {', '.join(sorted(missing))}"


def test_every_room_is_in_the_picture() -> None:
    there = {".".join(path.parent.relative_to(ROOT).parts) for path in FILES.values()}
    assert there == set(ARROWS)


def test_no_circle_of_files() -> None:
    arrows = {file: {other for other in all_imports(file) if other in FILES} for file in FILES}
    assert not circle(arrows), " -> ".join(circle(arrows))


def test_no_circle_of_rooms() -> None:
    arrows = {a: {b for b in to if not one_package(a, b)} for a, to in drawn().items()}
    assert not circle(arrows), " -> ".join(circle(arrows))


@pytest.mark.parametrize("file", FILES)
def test_libraries_only_where_they_are_named(file: str) -> None:
    outside = all_imports(file) - set(FILES) - sys.stdlib_module_names
    assert outside == LIBRARIES.get(file, set())


@pytest.mark.parametrize("file", LIBRARIES)
def test_libraries_are_imported_lazily(file: str) -> None:
    assert not imported(tree_of(file).body) & LIBRARIES[file]


def calls(file: str) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree_of(file)) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("file", [file for file in FILES if file.split(".")[0] == "nat" and file != "nat.host"])
def test_only_host_creates_sockets_in_nat(file: str) -> None:
    assert not calls(file) & {"socket.socket", "socket.create_connection"}


@pytest.mark.parametrize("file", [file for file in FILES if file.split(".")[0] != "pppgate"])
def test_below_the_loop_nobody_reads_a_clock_or_sleeps(file: str) -> None:
    assert not calls(file) & {"time.time", "time.monotonic", "time.sleep"}
