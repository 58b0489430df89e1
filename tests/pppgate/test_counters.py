"""Each counter is declared once, with a sentence, and each declared one is counted somewhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import ipcp.counters
import lcp.counters
import nat.counters
import serialport.counters
from pppgate.counters import COUNTERS

ROOT = Path(__file__).parents[2]
PACKAGES = ("pppgate", "serialport", "lcp", "ipcp", "nat")
NAME = re.compile(r"[a-z0-9]+\.[a-z0-9_]+")
TREES = {
    path: ast.parse(path.read_text())
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if path.name != "counters.py"
}
HELPERS = ("Refused", "_broken", "_miss")
"""What takes the name of a counter."""


def constants(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and NAME.fullmatch(each.value):
            yield each.value


def counted(tree: ast.AST) -> Iterator[str]:
    """Names under which something is counted, as far as they stand there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith(("count", "counters")):
            yield from constants(node.slice)
        elif isinstance(node, ast.Call):
            called, arguments = ast.unparse(node.func).rpartition(".")[2], node.args
            if called in HELPERS:
                for argument in arguments:
                    yield from constants(argument)
            elif called == "Verdict":
                yield from (name for argument in arguments[3:4] for name in constants(argument))
            elif called == "_Rule" and isinstance(arguments[0], ast.Constant):
                yield "policy." + str(arguments[0].value)
            elif called == "_drop" and isinstance(arguments[0], ast.Constant):
                why = str(arguments[0].value)
                yield from (f"{name}.{why}" for name in ("lcp", "ipcp") if f"{name}.{why}" in COUNTERS)
                assert f"lcp.{why}" in COUNTERS, why


@pytest.mark.parametrize("path", TREES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_counted_is_declared(path: Path) -> None:
    assert set(counted(TREES[path])) <= set(COUNTERS)


def test_what_is_declared_is_counted() -> None:
    used = {name for tree in TREES.values() for name in (*counted(tree), *constants(tree))}
    assert set(COUNTERS) <= used, sorted(set(COUNTERS) - used)


def test_each_is_declared_once_and_has_one_sentence() -> None:
    rooms = (nat.counters, lcp.counters, ipcp.counters, serialport.counters)
    names = [name for room in rooms for name in room.COUNTERS]
    assert len(names) == len(set(names)) and set(names) <= set(COUNTERS)
    for name, sentence in COUNTERS.items():
        assert NAME.fullmatch(name)
        assert sentence.endswith(".") and sentence[0].isupper() and "\n" not in sentence and len(sentence) < 120, name
    for path in ROOT.glob("*/counters.py"):
        keys = [key.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Dict)
                for key in node.keys if isinstance(key, ast.Constant)]  # fmt: skip
        assert len(keys) == len(set(keys)), path


def test_a_name_that_is_not_declared_is_noticed() -> None:
    code = 'self._count["a.b" if x else "c.d"] += 1; raise Refused(1, "e.f"); self.parts["g.h"]'
    assert set(counted(ast.parse(code))) == {"a.b", "c.d", "e.f"}
