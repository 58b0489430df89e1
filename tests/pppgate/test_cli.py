"""The command line: what it makes of its words, and that no mistake ends in a traceback."""

import io
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from pppgate import __version__
from pppgate.cli import main, parse
from pppgate.config import Config, NetworkConfig
from pppgate.say import Say
from pppgate.settings import ConfigError
from serialport.port import PortError

ROOT = Path(__file__).parents[2]


def only(config: Config) -> NetworkConfig:
    (network,) = config.networks
    return network


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Stands in for the server: the configs it was given."""
    configs: list[Config] = []
    server = types.ModuleType("pppgate.server")

    def run(config: Config) -> int:
        configs.append(config)
        return 0

    server.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pppgate.server", server)
    return configs


def test_no_word_at_all_is_a_pty(ran: list[Config]) -> None:
    assert main([]) == 0
    assert ran == [Config()]


@pytest.mark.parametrize(
    "words",
    [
        ["serve", "pty:/tmp/a", "tcp-listen:4000", "--net", "192.168.16.0/24"],
        ["pty:/tmp/a", "--net", "192.168.16.0/24", "tcp-listen:4000"],
        ["--net=192.168.16.0/24", "pty:/tmp/a", "tcp-listen:4000"],
    ],
)
def test_links_and_options_in_any_order(words: list[str]) -> None:
    config = only(parse(words))
    assert config.links == ("pty:/tmp/a", "tcp-listen:4000")
    assert str(config.gateway) == "192.168.16.2"


def test_every_option(tmp_path: Path) -> None:
    everything = parse(
        "--net 10.9.0.0/16 --gateway 10.9.0.1 --guest 10.9.0.7 --dns 10.9.0.8 --host-loopback --internet-only "
        "--auth any --mru 296 --echo-interval 2.5 --mtu 576 --forward tcp:8080=80 --forward udp:69=10.9.0.7:69 "
        f"--pcap {tmp_path}/x.pcap --log-level debug -vv".split()
    )
    config = only(everything)
    assert (config.mru, config.mtu, config.echo_interval, everything.verbose) == (296, 576, 2.5, 2)
    assert [str(each) for each in config.forward] == ["tcp:127.0.0.1:8080=80", "udp:127.0.0.1:69=10.9.0.7:69"]
    assert config.host_loopback and config.internet_only and config.auth == "any"
    assert everything.pcap == f"{tmp_path}/x.pcap" and everything.log_level == "debug"


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('links = ["pty:/tmp/file"]\nmru = 576\nhost-loopback = true\nforward = ["tcp:1=1"]')
    config = only(parse(["--config", str(path), "--mru", "296", "--no-host-loopback", "--forward", "tcp:2=2"]))
    assert config.links == ("pty:/tmp/file",)
    assert config.mru == 296
    assert not config.host_loopback
    assert [forward.port for forward in config.forward] == [2]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--bogus"], "--bogus"),
        (["--mru"], "Argument --mru: expected one argument"),
        (["--mru", "x"], "mru: a whole number"),
        (["--hos"], "--hos"),
        (["--gateway", "10.0.2.15", "--guest", "10.0.2.15"], "are both 10.0.2.15"),
        (["--config", "/does/not/exist"], "/does/not/exist cannot be read"),
        (["--forward", "80"], "The forward '80' is not understood"),
    ],
)
def test_mistakes_are_one_sentence_and_status_2(
    ran: list[Config], capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert err.startswith("pppgate: ") and err.count("\n") == 1
    assert ran == []


@pytest.mark.parametrize("error", [PortError("/dev/x is busy."), ConfigError("Port 1 is in use.")])
def test_what_the_server_refuses_is_one_sentence_too(
    ran: list[Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def run(_config: Config) -> int:
        raise error

    monkeypatch.setattr(sys.modules["pppgate.server"], "run", run)
    assert main([]) == 2
    assert capsys.readouterr().err == f"pppgate: {error}\n"


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for word in (
        "QEMU",
        "Bochs",
        "86Box",
        "DOSBox-X",
        "UML",
        "pppd /dev/ttyS0",
        "--forward",
        "pty:[SYMLINK]",
    ):
        assert word in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"pppgate {__version__}\n"


def test_as_a_module_from_a_shell() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pppgate", "--net", "nowhere"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "pppgate: net: nowhere is not an IPv4 network; write one such as 10.0.2.0/24.\n"


# -- how it speaks


def test_lines_by_level_and_nothing_that_steers_a_terminal() -> None:
    stream = io.StringIO()
    say = Say("info", stream)
    say.debug("hidden")
    say.event("link up")
    say.warning("name \x1b[2J\r\nforged line")
    say.error("bad")
    assert stream.getvalue() == "link up\nname \\x1b[2J\\x0d\\x0aforged line\nbad\n"


def test_a_closed_pipe_is_no_error() -> None:
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w")
    say = Say("info", stream)
    say.event("one")
    os.close(reader)
    say.event("two")
    say.event("three")
    assert say.gone
    stream.close()


def test_what_is_logged_comes_out_the_same_way() -> None:
    import logging

    stream = io.StringIO()
    logger = logging.getLogger("pppgate")
    before = (logger.handlers, logger.level, logger.propagate)
    try:
        Say("info", stream).capture_logging()
        logging.getLogger("pppgate.loop").error("two\nlines")
        logging.getLogger("pppgate.loop").debug("hidden")
    finally:
        logger.handlers, logger.propagate = before[0], before[2]
        logger.setLevel(before[1])
    assert stream.getvalue() == "two\nlines\n"
