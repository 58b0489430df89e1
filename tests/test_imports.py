"""The arrows between the packages: who may import whom."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("pppgate", "serialport", "lcp", "ipcp", "nat")
ALLOWED = {
    "pppgate": {"serialport", "lcp", "ipcp", "nat"},
    "serialport": set(),
    "lcp": set(),
    "ipcp": {"lcp"},
    "nat": set(),
}
# Libraries that are not of the standard library: which package may use them, and only inside a function or a try.
LIBRARIES = {"serialport": {"serial"}, "pppgate": {"uvloop", "pexpect"}, "lcp": {"fastcrc"}}
# What the sub-packages of pppgate may import of the project: they know neither PPP nor the NAT.
INSIDE = {
    "ether": ("pppgate.ether", "pppgate.dhcp", "nat.dirty", "serialport", "ipcp.pool", "nat.wire.ipv4"),
    "dhcp": ("pppgate.dhcp", "pppgate.ether", "ipcp.pool", "nat.wire.ipv4"),
    "ne2000": ("pppgate.ne2000", "pppgate.ether", "serialport"),
    "devices": ("pppgate.devices", "pppgate.ne2000", "pppgate.ether", "serialport"),
}
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_allowed_arrows(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    outside = imports(ast.parse(path.read_text())) - sys.stdlib_module_names - {package}
    assert outside <= ALLOWED[package] | LIBRARIES.get(package, set())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_libraries_are_imported_lazily(path: Path) -> None:
    lazy = {name for names in LIBRARIES.values() for name in names}
    body = ast.parse(path.read_text()).body
    top = ast.Module([node for node in body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    assert not imports(top) & lazy


def modules(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("name", INSIDE)
def test_the_arrows_inside_pppgate(name: str) -> None:
    for path in sorted((ROOT / "pppgate" / name).rglob("*.py")):
        ours = {module for module in modules(ast.parse(path.read_text())) if module.split(".")[0] in PACKAGES}
        wrong = {module for module in ours if not any(f"{module}.".startswith(f"{each}.") for each in INSIDE[name])}
        assert not wrong, path.name


def test_only_host_creates_sockets_in_nat() -> None:
    for path in (ROOT / "nat").rglob("*.py"):
        made = [
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("socket.socket", "socket.create_connection")
        ]
        assert not made or path.name == "host.py"


@pytest.mark.parametrize("package", ("serialport", "lcp", "ipcp", "nat"))
def test_below_the_loop_nobody_reads_a_clock_or_sleeps(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        names = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
        assert not names & {"time.time", "time.monotonic", "time.sleep"}, path.name
