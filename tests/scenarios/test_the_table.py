"""docs/scenarios.md names every file of this directory, and no scenario that is not there."""

import re
from pathlib import Path

HERE = Path(__file__).parent
TABLE = (HERE.parent.parent / "docs" / "scenarios.md").read_text()
FILES = sorted(path for path in HERE.glob("test_*.py") if path.name != Path(__file__).name)


def test_every_file_has_a_table() -> None:
    assert FILES and not [path.name for path in FILES if f"(../tests/scenarios/{path.name})" not in TABLE]


def test_every_scenario_that_is_named_is_there() -> None:
    there = {name for path in FILES for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)}
    named = set(re.findall(r"`(test_\w+)`", TABLE))
    assert named <= there, named - there
    in_words = {"test_ppp_edges.py", "test_tcp_edges.py"}  # their tables name sections and no functions
    rest = {
        name
        for path in FILES
        if path.name not in in_words
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert rest <= named, rest - named
