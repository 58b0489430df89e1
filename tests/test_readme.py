"""What the README tells people to paste: commands that are understood, and lines that the program itself would say."""

from __future__ import annotations

import os
import re
import shlex
import socket
from pathlib import Path

import pytest

from pppgate.cli import parse
from pppgate.hints import hints
from pppgate.links import open_links

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"^```(?:sh|console)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """The words of each call of the program, without what a shell takes for itself."""
    lines = "\n".join(BLOCKS).replace("\\\n", " ").splitlines()
    calls = [line.removeprefix("$ ").partition("#")[0] for line in lines]
    words = [shlex.split(line) for line in calls if line.startswith("pppgate ")]
    return [[word for word in each[1:] if word != "&"] for each in words]


def squeezed(text: str) -> str:
    return " ".join(text.replace("\\\n", " ").split())


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_its_commands_are_understood(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if words[0] == "eoppp":
        from pppgate.eoppp.cli import parse as parse_eoppp

        parse_eoppp(words[1:], lambda sentence: None)
        return
    if "--auth" in words:
        words = [word if word != "FILE" else "any" for word in words]
    open_links(parse(words).networks[0].links)


@pytest.mark.parametrize(
    "url",
    [
        "unix-listen:/tmp/com1",
        "tcp-listen:4000",
        "ether:unix-listen:/tmp/eth0",
        "ether:tcp-listen:4000",
        "ether:dgram:/tmp/gate=/tmp/eth0",
        "ether:bochs:40000",
        "uart:vfio-user:/tmp/uart.sock",
        "ne2k:vfio-user:/tmp/ne2k.sock",
    ],
)
def test_the_lines_for_emulators_are_those_that_the_program_says(url: str) -> None:
    """Up to the device, which stands apart in the README."""
    said = [line[10:].partition(" -device")[0] for line in hints(open_links((url,)).all[0])]
    text = squeezed(README)
    assert [line for line in said if line.startswith("-") and line in text] or any(line in text for line in said), said


def test_an_inherited_socket_is_named_as_the_readme_says() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        number = os.dup(ours.fileno())
        open_links((f"ether:fd:{number}",))
        os.close(number)
    assert "`ether:fd:3`" in README
