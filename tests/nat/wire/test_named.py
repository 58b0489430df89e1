"""Every field of a header is named in one place: no `packet[12:16]` and no `packet[9]` anywhere else."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
READERS = ("nat", "pppgate/ether", "pppgate/dhcp", "pppgate/eoppp")
OCTETS = frozenset(
    ("packet", "frame", "octets", "message", "payload", "datagram", "segment", "quote", "quoted", "query", "reply",
     "head", "header", "first", "first_fragment", "syn", "key", "about")
)  # fmt: skip
"""What headers are called that came from somewhere."""
EXCEPTIONS = {
    "nat/wire",  # here they are named
    "pppgate/eoppp/card_line.py",  # looks at TCP from outside
    "pppgate/eoppp/chat.py",  # octets that people write, not of a header
}


def slices(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Subscript) or not isinstance(node.value, ast.Name) or node.value.id not in OCTETS:
            continue
        parts = (node.slice.lower, node.slice.upper) if isinstance(node.slice, ast.Slice) else (node.slice,)
        numbers = [each for part in parts if part is not None for each in ast.walk(part)]
        if any(isinstance(each, ast.Constant) and isinstance(each.value, int) for each in numbers):
            yield f"{node.lineno}: {ast.unparse(node)}"


def test_no_header_is_taken_apart_by_numbers() -> None:
    found = []
    for reader in READERS:
        for path in sorted((ROOT / reader).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if not any(name.startswith(each) for each in EXCEPTIONS):
                found += [f"{name}:{each}" for each in slices(ast.parse(path.read_text()))]
    assert not found, "\n".join(found)


def test_it_is_noticed() -> None:
    code = "packet[12:16]; packet[hlen + 2 : hlen + 4]; frame[9]; packet[SOURCE]; packet[a:b]"
    assert [*slices(ast.parse(code))] == [
        "1: packet[12:16]", "1: packet[hlen + 2:hlen + 4]", "1: frame[9]",
    ]  # fmt: skip
