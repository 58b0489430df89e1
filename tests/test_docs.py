"""What the documents tell people: commands that are understood, lines that the program itself would say, links that
lead somewhere, bounds and options as the code has them, and functions that are there.

A document says what kind a block is by its fence: `sh` and `console` hold commands (in `console` what follows a
command is what the program printed), `log` what it prints, `toml` a configuration, `python` a program.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import os
import re
import shlex
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from contrib.bench import main as bench
from lcp.packet import CODE_NAMES, Protocol, protocol_name
from pppgate import cli
from pppgate.config import OF_PROGRAM, SETTINGS, CallConfig, Config, NetworkConfig, build, load
from pppgate.counters import COUNTERS
from pppgate.eoppp import cli as eoppp
from pppgate.hints import hints
from pppgate.links import open_links

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *sorted((ROOT / "docs").glob("*.md")),
    )
}
PACKAGES = ("serialport", "lcp", "ipcp", "nat", "pppgate")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
README_LINES_MOST = 250

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")


def blocks(*kinds: str) -> Iterator[tuple[str, str]]:
    """(page, text) of the blocks of these kinds."""
    for page, text in PAGES.items():
        for kind, block in FENCE.findall(text):
            if kind in kinds:
                yield page, block


def prose(text: str) -> str:
    return FENCE.sub("", text)


def section(page: str, title: str) -> str:
    """The text under a heading of the second level."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGES[page], re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no section {title!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The rows of the tables in a text, without heads; a cell may have an escaped bar in it."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rules = [at for at, cells in enumerate(table) if set("".join(cells)) <= set("-:")]
    return [cells for at, cells in enumerate(table) if at not in rules and at + 1 not in rules]


# -- commands


def shell_lines() -> Iterator[tuple[str, str]]:
    """(page, command) of every command in a block."""
    for page, block in blocks("sh", "console"):
        for line in block.replace("\\\n", " ").splitlines():
            yield page, line.removeprefix("$ ").partition(" #")[0].strip()


def inline_commands() -> Iterator[tuple[str, str]]:
    """Those in running text, whole ones: without `...`, and with a link or an option in them."""
    for page, text in PAGES.items():
        for code in CODE.findall(prose(text)):
            if re.match(r"pppgate (?!.*(\.\.\.|\[|\bLINK\b|--chat$))[-a-z]*[:-]", code):
                yield page, code


def commands() -> list[list[str]]:
    """The words of each call of the program, without what a shell takes for itself."""
    calls = [line for _, line in (*shell_lines(), *inline_commands()) if line.startswith("pppgate ")]
    words = [[word for word in shlex.split(line)[1:] if word != "&"] for line in calls]
    return [list(each) for each in dict.fromkeys(map(tuple, words))]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_are_understood(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if words[0] == "eoppp":
        eoppp.parse(words[1:], lambda sentence: None)
        return
    if "--auth" in words:
        words = [word if word != "FILE" else "any" for word in words]
    for network in cli.parse(words).networks:
        open_links(network.links)


def test_there_are_commands_on_the_pages_of_a_user() -> None:
    pages = {page for page, line in shell_lines() if line.startswith("pppgate ")}
    assert pages >= {f"docs/{name}.md" for name in ("emulators", "ethernet", "chips", "eoppp")} | {"README.md"}


def test_forwards_in_a_list_are_understood() -> None:
    specs = re.findall(r"^--forward +(\S+)", PAGES["docs/options.md"], re.MULTILINE)
    assert len(specs) >= 4
    for spec in specs:
        cli.parse(["--forward", *shlex.split(spec)])


@pytest.mark.parametrize("line", [line for _, line in shell_lines() if line.startswith("contrib/bench/run")])
def test_what_repeats_a_measurement_is_understood(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(line)[1:]
    if "--help" in words:
        with pytest.raises(SystemExit):
            bench.parse(words)
    else:
        bench.parse(words)


def test_every_measure_has_its_row() -> None:
    named = CODE.findall(" ".join(cells[0] for cells in rows(section("docs/performance.md", "To repeat it"))))
    assert named == [work.name for work in bench.WORK]
    for text in re.findall(r"`contrib/bench/run ([^`]+)`", PAGES["docs/performance.md"]):
        bench.parse(text.split())


@pytest.mark.parametrize(
    "line", sorted({line for _, line in shell_lines() if re.match(r"(\./)?(contrib|\.ci)/", line)})
)
def test_the_projects_own_programs_are_there(line: str) -> None:
    program = ROOT / line.split()[0]
    assert program.is_file() and os.access(program, os.X_OK)


@pytest.mark.parametrize("block", [block for _, block in blocks("toml")])
def test_configurations_are_understood(block: str, tmp_path: Path) -> None:
    path = tmp_path / "pppgate.toml"
    path.write_text(block)
    for network in build(load(str(path))).networks:
        open_links(network.links)


def test_the_example_has_every_setting() -> None:
    text = (ROOT / "contrib/examples/pppgate.toml").read_text()
    build(load(str(ROOT / "contrib/examples/pppgate.toml")))
    named = {name.replace("-", "_") for name in re.findall(r"^(?:# )?([\w-]+) = ", text, re.MULTILINE)}
    assert named >= {*SETTINGS["nat"], *OF_PROGRAM}


@pytest.mark.parametrize("block", [block for _, block in blocks("python") if "import machine" not in block])
def test_programs_are_python_and_import_what_is_there(block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for name in node.names:
                assert hasattr(importlib.import_module(node.module), name.name)


# -- what emulators are given


def squeezed(text: str) -> str:
    return " ".join(text.replace("\\\n", " ").split())


@pytest.mark.parametrize(
    "url",
    [
        "unix-listen:/tmp/com1",
        "tcp-listen:4000",
        "ether:unix-listen:/tmp/eth0",
        "ether:tcp-listen:4000",
        "ether:dgram:/tmp/gate=/tmp/eth0",
        "ether:dgram:127.0.0.1:4001=127.0.0.1:4002",
        "ether:bochs:40000",
        "uart:vfio-user:/tmp/uart.sock",
        "ne2k:vfio-user:/tmp/ne2k.sock",
    ],
)
def test_the_lines_for_emulators_are_those_that_the_program_says(url: str) -> None:
    """Up to the device, which stands apart in the documents."""
    said = [line[10:].partition(" -device")[0] for line in hints(open_links((url,)).all[0])]
    text = squeezed(" ".join(PAGES.values()))
    assert [line for line in said if line.startswith("-") and line in text] or any(line in text for line in said), said


@pytest.mark.parametrize(("emulator", "command", "line"), rows(section("README.md", "Use it"))[:3])
def test_the_three_lines_of_the_readme_are_those_that_the_program_says(emulator: str, command: str, line: str) -> None:
    (link,) = open_links(cli.parse(shlex.split(command.strip("`"))[1:]).networks[0].links).all
    link.path = link.url.partition(":")[2]  # as if it had been started
    link.path = f"127.0.0.1:{link.path}" if link.path.isdigit() else link.path
    said = dict(each.split(maxsplit=1) for each in hints(link) if not each.startswith(" "))
    assert said[{"user-mode-linux": "UML"}.get(emulator, emulator)] == line.strip("`")


def test_an_inherited_socket_is_named_as_the_documents_say() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        number = os.dup(ours.fileno())
        open_links((f"ether:fd:{number}",))
        os.close(number)
    assert "`ether:fd:3`" in PAGES["docs/ethernet.md"]


# -- what the program prints

DATA = re.compile(
    r"""\.\.\. | [\d.,]+ | 0x[0-9a-f]+ | [0-9a-f]{2,}(\ [0-9a-f]{2})* | ([0-9a-f]{2}:){5}[0-9a-f]{2}  # numbers
      | ([\d.]+)(:\d+)?(/\d+)? | '[^']*' | (/[\w.@-]+)+(\#\d+)?   # IPv4 addresses, names, paths
      | ([a-z]+\.[a-z_]+\ \d+(,\ )?)+ """,  # counters
    re.VERBOSE,
)
Template = tuple[str, ...]
"""The fixed parts of a string of the sources; between two of them the program puts a value."""


def template(node: ast.JoinedStr) -> Template:
    parts = [""]
    for each in node.values:
        if isinstance(each, ast.Constant):
            parts[-1] += str(each.value)
        else:
            parts.append("")
    return tuple(parts)


@cache
def templates() -> list[Template]:
    """What the sources can say: their strings, but for documentation."""
    found: set[Template] = {(name,) for name in (*CODE_NAMES.values(), *map(protocol_name, Protocol))}
    for path in (*SOURCES, *sorted((ROOT / "contrib").rglob("*.py"))):
        tree = ast.parse(path.read_text())
        aside = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                found.add(template(node))
                aside |= {id(part) for part in node.values}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in aside:
                found.add((node.value,))
    # One that is all holes says nothing by itself, but joins: "{name}: {event}", "{way} {what}".
    return sorted(parts for parts in found if "".join(parts).strip() or len(parts) == 3)


@cache
def can_be_printed(text: str) -> bool:
    """Whether the program has words for it: one of its strings, with data or other strings of its own in the holes."""
    if not text or DATA.fullmatch(text):
        return True
    if any(fits(parts, text, 0) for parts in templates() if all(part in text for part in parts)):
        return True
    separators = re.finditer(r"[,;] |(?<=>) (?=<)", text)
    return any(
        can_be_printed(text[: at.start()]) and (can_be_printed(text[at.end() :]) or can_be_printed(text[at.start() :]))
        for at in separators
        if at.start()
    )


def fits(parts: Template, text: str, at: int) -> bool:
    """Whether `text` from `at` on is `parts`, with something that can be printed between each two of them."""
    first, rest = parts[0], parts[1:]
    if not text.startswith(first, at):
        return False
    at += len(first)
    if not rest:
        return at == len(text)
    if not rest[0]:  # the value goes to the end, or to where another one begins
        ends = [len(text)] if len(rest) == 1 else range(at, len(text) + 1)
    else:
        ends = [found.start() for found in re.finditer(f"(?={re.escape(rest[0])})", text) if found.start() >= at]
    return any((text[at:end] != text) and fits(rest, text, end) and can_be_printed(text[at:end]) for end in ends)


def printed_lines() -> list[str]:
    lines = [line for _, block in blocks("log") for line in block.splitlines()]
    for _, block in blocks("console"):
        lines += [line for line in block.splitlines() if not re.match(r"\$ |\w+# ", line)]
    return list(dict.fromkeys(lines))


@pytest.mark.parametrize("line", printed_lines())
def test_lines_that_the_program_is_said_to_print_are_its_own(line: str) -> None:
    emulator = re.match(r"    \S+ +(.*)", line)
    if emulator:  # a hint, whose words are another program's
        assert emulator[1] in {hint[10:] for hint in hints(open_links(("unix-listen:/tmp/com1",)).all[0])}
    else:
        assert can_be_printed(line)


@pytest.mark.parametrize(
    "line",
    [
        "/tmp/com1#1: link is up in 0.01 s: local 10.0.2.2, remote 10.0.2.15",
        "Denied TCP to 10.0.2.2 port 8000 from 10.0.2.15: 10.0.2.2 is a gateway.",
        "/tmp/com1: sent LCP Configure-Question id 1 <asyncmap 0x0>",
        "/tmp/com1: sent LCP Configure-Request id 1 <asynchronous 0x0>",
        "/tmp/eth0#1: 52:54:00:12:34:56 has rented 10.0.2.15",
    ],
)
def test_lines_that_nobody_prints_are_found_out(line: str) -> None:
    assert not can_be_printed(line)


def symptoms() -> list[str]:
    """What the program says, of the symptoms in the table; words of other programs and names of things are not."""
    foreign = re.compile(
        r"Connect:|-v|dig .*|DHCP .*|Offer|/dev/.*|eoppp|pppgate eoppp|[a-z]+:(\S*:)?|stream|nullmodem"
    )
    found = []
    for cells in rows(section("docs/troubleshooting.md", "Troubleshooting")):
        if not cells[0].startswith("QEMU:"):
            found += [code for code in CODE.findall(cells[0]) if not foreign.fullmatch(code)]
    return found


@pytest.mark.parametrize("symptom", symptoms())
def test_symptoms_are_in_the_programs_own_words(symptom: str) -> None:
    """A whole line, or every part between `...` and numbers stands in a string of the sources."""
    if can_be_printed(symptom):
        return
    words = "\n".join(part for parts in templates() for part in parts)
    for part in re.split(r"\.\.\.|\d+", symptom):
        assert part.strip() in words, part


# -- links


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    plain = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return plain.replace(" ", "-")


def anchors(text: str) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)}


def links() -> list[tuple[str, str]]:
    return [(page, target) for page, text in PAGES.items() for target in re.findall(r"\]\(([^)\s]+)\)", prose(text))]


@pytest.mark.parametrize(("page", "target"), [link for link in links() if "://" not in link[1]])
def test_links_lead_somewhere(page: str, target: str) -> None:
    path, _, anchor = target.partition("#")
    there = (ROOT / page).parent / path if path else ROOT / page
    assert there.exists()
    assert not anchor or anchor in anchors(there.read_text())


def test_every_page_is_named_on_another_one() -> None:
    named = {
        (page, str(((ROOT / page).parent / path).resolve().relative_to(ROOT.resolve())))
        for page, target in links()
        if "://" not in target and (path := target.partition("#")[0])
    }
    named |= {(page, code) for page, text in PAGES.items() for code in CODE.findall(prose(text))}
    for page in PAGES:
        assert page == "README.md" or any(there == page != here for here, there in named)


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_are_there(page: str) -> None:
    if page == "docs/scenarios.md":
        return  # it names files of other projects
    for code in CODE.findall(prose(PAGES[page])):
        name = code.removeprefix("./").partition(" ")[0]
        if re.match(r"(tests|contrib|docs|\.ci|" + "|".join(PACKAGES) + r")/", name):
            assert (ROOT / name).exists() or name == "docs/scenarios.md", name


# -- names, bounds, options


def resolve(name: str) -> Any:
    """What a dotted name stands for: a module, or what is in one. Raises AttributeError or ImportError."""
    parts = name.split(".")
    found: Any = importlib.import_module(parts[0])
    for at, part in enumerate(parts[1:], 2):
        if not hasattr(found, part):
            importlib.import_module(".".join(parts[:at]))
        found = getattr(found, part)
    return found


def value(name: str) -> float:
    """The number that a constant has, or a field of a dataclass by default."""
    owner, _, field = name.rpartition(".")
    if owner.rpartition(".")[2][:1].isupper():
        defaults: dict[str, Any] = {each.name: each.default for each in dataclasses.fields(resolve(owner))}
        found = defaults[field]
    else:
        found = resolve(name)
    assert isinstance(found, int | float)
    return float(found)


def dotted_names(text: str) -> list[str]:
    name = re.compile(rf"({'|'.join(PACKAGES)})(\.\w+)+")
    return [
        code
        for code in CODE.findall(text)
        if name.fullmatch(code) and not re.search(r"\.(py|toml|service)$", code) and code not in COUNTERS
    ]


@pytest.mark.parametrize("page", [page for page in PAGES if dotted_names(prose(PAGES[page]))])
def test_names_that_a_page_mentions_are_in_the_code(page: str) -> None:
    for name in dotted_names(prose(PAGES[page])):
        resolve(name)


def test_the_walk_names_each_function_once_and_all_of_them_exist() -> None:
    names = dotted_names(section("docs/architecture.md", "A walk through the house"))
    assert len(names) > 40
    assert sorted(names) == sorted(set(names))
    for name in names:
        assert callable(resolve(name)), name


UNITS = {"KiB": 1024.0, "MiB": 1024.0**2, "ms": 0.001}


def numbers(text: str) -> list[float]:
    """The numbers of a cell, in octets or seconds where a unit says so; what stands in parentheses explains them."""
    found = re.findall(r"(\d[\d,]*)\s*([A-Za-z]+)?", re.sub(r"\(.*?\)", "", text.replace(", ", "; ")))
    return [float(digits.replace(",", "")) * UNITS.get(unit, 1.0) for digits, unit in found]


BOUNDS = [(cells[0], cells[1], cells[2]) for cells in rows(section("docs/security.md", "Bounds"))]
ENDS = [(cells[2], cells[0], cells[1]) for cells in rows(section("docs/security.md", "What ends by itself"))]


@pytest.mark.parametrize(("what", "said", "where"), BOUNDS + ENDS)
def test_bounds_stand_in_the_code_with_the_value_that_is_said(what: str, said: str, where: str) -> None:
    assert numbers(said) == [value(name) for name in CODE.findall(where)]


def test_the_tables_of_bounds_are_whole() -> None:
    assert len(BOUNDS) >= 62
    assert len(ENDS) >= 15
    limits = {f"nat.context.Limits.{field.name}" for field in dataclasses.fields(resolve("nat.context.Limits"))}
    named = {name for _, _, where in BOUNDS + ENDS for name in CODE.findall(where)}
    assert limits - named == {"nat.context.Limits.tcp_keepalive"}  # an option, and no bound


NO_BOUNDS = {
    "ipcp.protocol.NAMED_MOST": "repetitions",
    "lcp.auth.secrets.LINE_MOST": "of a file of the user's",
    "lcp.codec.NETWORK_LAYER_MOST": "a number of the protocol",
    "lcp.options.NAKS_TAKEN_MOST": "repetitions",
    "lcp.protocol.LOOPS_MOST": "repetitions",
    "nat.line.BULK_MOST": "half of another one",
    "nat.tcp.recovery.RTO_MOST": "seconds of a timer",
    "nat.tcp.recovery.UNSAMPLED_MOST": "repetitions",
    "nat.tcp.sender.READ_MOST": "of a capacity that is in the table",
    "nat.wire.tcp.WINDOW_SCALE_MOST": "a number of the protocol",
    "nat.wire.udp.DATAGRAM_MOST": "a number of the protocol",
    "pppgate.config.CALLER_MTU_MOST": "what a user may set",
    "pppgate.config.NAME_SERVERS_MOST": "what a user may set",
    "pppgate.config.SECRET_MOST": "what a user may set",
    "pppgate.devices.vfio_user.MULTI_MOST": "follows from another one",
    "pppgate.dhcp.reply.SIZE_MOST": "what is sent",
    "pppgate.dhcp.server.NAME_MOST": "what is said",
    "pppgate.eoppp.chat.ABORTS_MOST": "of a file of the user's",
    "pppgate.eoppp.chat.SILENCE_MOST": "of a file of the user's",
    "pppgate.eoppp.dialer.RETRY_MOST": "seconds between two calls",
    "pppgate.ether.frame.LENGTH_MOST": "a number of the protocol",
    "pppgate.ether.links.dgram.FRAMES_MOST": "of what one read brings",
    "pppgate.ether.links.stream.GATHERED_MOST": "of what one write takes",
    "pppgate.ne2000.dp8390.chip.TALLY_MOST": "of the chip",
    "pppgate.settings.MTU_MOST": "what a user may set",
    "pppgate.settings.SECONDS_MOST": "what a user may set",
    "serialport.addresses.UNIX_PATH_MOST": "of Linux",
    "serialport.meter.LOOK_MOST": "seconds between two looks",
    "serialport.meter.STARVED_MOST": "repetitions",
    "serialport.meter.WINDOW_MOST": "of what the table has under waiting for a line",
    "serialport.uart16550.bridge.GATHER_MOST": "of what one write takes",
}
"""Constants named *_MOST that bound nothing that somebody else could make grow, and what they are."""


def named_most() -> set[str]:
    """The dotted names of all public constants *_MOST."""
    found = set()
    for path in SOURCES:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.parse(path.read_text()).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            found |= {
                f"{module}.{each.id}"
                for each in targets
                if isinstance(each, ast.Name) and each.id.endswith("_MOST") and not each.id.startswith("_")
            }
    return found


def test_each_bound_of_the_code_is_in_a_table() -> None:
    """Or is said here to be none: a new *_MOST belongs in docs/security.md, or in NO_BOUNDS with a reason."""
    named = {name for _, _, where in BOUNDS + ENDS for name in CODE.findall(where)}
    assert named_most() - named == set(NO_BOUNDS)


def test_the_page_of_counters_is_the_registry() -> None:
    """Sentence by sentence: whoever adds a counter adds a row."""
    tables = PAGES["docs/counters.md"].partition("\n## ")[2]
    assert {cells[0].strip("`"): cells[1] for cells in rows(tables)} == dict(COUNTERS)
    assert len(rows(tables)) == len(COUNTERS)


def option_rows(title: str) -> list[list[str]]:
    return rows(section("docs/options.md", title))


@pytest.mark.parametrize(
    ("title", "parser"),
    [("Options of pppgate", cli.parser()), ("Options of pppgate eoppp", eoppp.parser())],
    ids=["pppgate", "eoppp"],
)
def test_the_page_of_options_has_every_option_and_no_other(title: str, parser: argparse.ArgumentParser) -> None:
    listed = [code.split()[0] for cells in option_rows(title) for code in CODE.findall(cells[0])]
    actions = [action for action in parser._actions if action.option_strings]
    assert sorted(listed) == sorted(name for action in actions for name in action.option_strings)
    metavars = {name: action.metavar for action in actions for name in action.option_strings}
    for cells in option_rows(title):
        for code in CODE.findall(cells[0]):
            name, _, metavar = code.replace("\\|", "|").partition(" ")
            assert metavar == (metavars[name] or "")


def defaults(*kinds: type[Any]) -> dict[str, Any]:
    return {each.name: each.default for kind in kinds for each in dataclasses.fields(kind)}


@pytest.mark.parametrize(
    ("title", "set_by"),
    [
        ("Options of pppgate", defaults(NetworkConfig, Config)),
        ("Options of pppgate eoppp", defaults(NetworkConfig, Config, CallConfig) | {"echo_interval": 10.0, "dns": ()}),
    ],
    ids=["pppgate", "eoppp"],
)
def test_defaults_are_those_of_the_configuration(title: str, set_by: dict[str, Any]) -> None:
    unset = {"none", "off", "never", "0", "those of `/etc/resolv.conf`", "the server's"}
    for cells in option_rows(title):
        name = (
            CODE.findall(cells[0])[0]
            .split()[0]
            .strip("-")
            .replace("-", "_")
            .replace("v", "verbose", cells[0][1:3] == "-v")
        )
        default = set_by.get(name)
        if name not in set_by or default is dataclasses.MISSING or cells[1] == "needed":
            continue
        if isinstance(default, bytes):
            assert cells[1] == "none"
        elif not default:
            assert cells[1] in unset, name
        elif default is True:
            assert cells[1] == "on"
        else:
            assert (f"{default:g}" if isinstance(default, float) else str(default)) in cells[1], name


def test_the_table_of_settings_says_which_network_takes_them() -> None:
    """A setting is an option with another spelling; what the command line cannot say stands in the text."""
    said = {
        cells[0].strip("`"): CODE.findall(cells[1]) for cells in rows(section("docs/options.md", "Several networks"))
    }
    assert {uplink: [name.replace("-", "_") for name in names] for uplink, names in said.items()} == {
        uplink: list(names) for uplink, names in SETTINGS.items()
    }


def test_every_kind_of_link_is_in_its_table() -> None:
    from pppgate.links import SCHEMES as OURS
    from serialport.url import SCHEMES

    named = {code.partition(":")[0] for cells in option_rows("Links") for code in CODE.findall(cells[0])}
    assert named == {*SCHEMES, *OURS, "rfc2217", "socket"}


# -- the pages


def test_the_readme_is_short() -> None:
    assert PAGES["README.md"].count("\n") <= README_LINES_MOST


@pytest.mark.parametrize("page", PAGES)
def test_the_spelling_is_american(page: str) -> None:
    """Names of the code keep theirs."""
    text = CODE.sub("", prose(PAGES[page]))
    british = "neighbour|behaviour|colour|dialled|dialling|cancelled|labelled|modelled|favour|honour|centre|initialis"
    assert not re.findall(british, text, re.IGNORECASE)
