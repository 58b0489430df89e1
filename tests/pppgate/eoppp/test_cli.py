"""pppgate.eoppp.cli: from words to a config, and mistakes to one sentence."""

import os
import sys
from pathlib import Path

import pytest

from lcp.config import Credentials
from pppgate.config import CallConfig, Config, NetworkConfig
from pppgate.eoppp.chat import Expect
from pppgate.eoppp.cli import main, parse, parser
from pppgate.settings import ConfigError

ENDS = ("--ether", "ether:unix-listen:/tmp/eth0", "--ppp", "pty:")


def everything(*words: str, warnings: list[str] | None = None) -> Config:
    warned: list[str] = [] if warnings is None else warnings
    return parse([*ENDS, *words], warned.append)


def parsed(*words: str, warnings: list[str] | None = None) -> CallConfig:
    (network,) = everything(*words, warnings=warnings).networks
    assert network.call is not None
    return network.call


def test_what_is_not_said_has_a_default() -> None:
    call = CallConfig(ppp="pty:")
    network = NetworkConfig(uplink="ppp", links=("ether:unix-listen:/tmp/eth0",), echo_interval=10.0, call=call)
    assert everything() == Config(networks=(network,))


def test_everything_can_be_said(tmp_path: Path) -> None:
    password, chat = tmp_path / "password", tmp_path / "chat"
    password.write_text("open sesame\nnot this\n")
    password.chmod(0o600)
    chat.write_text("OK ATD1")
    warnings: list[str] = []
    words = (
        f"--ether ether:bochs:4000 --chat {chat} --user me --password-file {password} --demand --idle 300 --tries 5 "
        "--address 10.9.0.2 --dns 9.9.9.9 --dns 1.1.1.1 --domain example.org --search a.org --lease 30 --mru 576 "
        "--mtu 1000 --echo-interval 0 --pcap /tmp/x --log-level debug -vv"
    ).split()
    whole = everything(*words, warnings=warnings)
    (network,) = whole.networks
    config = network.call
    assert config is not None
    assert config.credentials == Credentials(b"me", b"open sesame") and config.chat[0] == Expect(b"OK")
    assert network.links == ("ether:unix-listen:/tmp/eth0", "ether:bochs:4000")
    assert (config.demand, config.idle, config.persist, config.tries) == (True, 300.0, True, 5)
    assert (config.address, config.dns) == (bytes((10, 9, 0, 2)), (b"\x09\x09\x09\x09", b"\x01\x01\x01\x01"))
    assert (network.domain, network.search, config.lease) == ("example.org", ("a.org",), 30.0)
    assert (network.mru, network.mtu, network.echo_interval, whole.verbose) == (576, 1000, 0.0, 2)
    assert not warnings and not parsed("--no-persist").persist


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--mru", "5"], "--mru: a whole number from 128 to 1500 is needed, not 5"),
        (["--mtu", "9000"], "--mtu: a whole number from 68 to 1500"),
        (["--idle", "-1"], "--idle: a number of seconds from 0 (never) to 86400"),
        (["--lease", "1"], "--lease: a number of seconds from 10"),
        (["--lease", "nan"], "--lease: a number of seconds from 10"),
        (["--address", "10.0.0.300"], "10.0.0.300 is not an IPv4 address"),
        (["--dns", "127.0.0.53"], "127.0.0.53 is not the address of a host"),
        (["--user", "me"], "--user needs a password"),
        (["--user", "me", "--password-file", "/nothere"], "The password file /nothere cannot be read: No such file"),
        (["--password-file", "/dev/null"], "--password-file is of no use without a name"),
        (["--user", "me", "--password-file", "/dev/null"], "The first line of the password file /dev/null is empty"),
        (["--chat", "/nothere"], "The chat script /nothere cannot be read"),
        (["--demand", "--no-persist"], "it cannot be had with --no-persist"),
        (["--password", "secret"], "There is no option --password secret"),
        (["--domain", "a b"], "domain: a b is not a domain name"),
        (["--log-level", "loud"], "--log-level: invalid choice"),
        (["word"], "There is no option word"),
    ],
)
def test_mistakes(words: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(*words)
    sentence = str(caught.value)
    assert says in sentence and sentence.endswith(".") and "\n" not in sentence


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "There is no --ether, --ppp; see pppgate eoppp --help."),
        (["--ether", "pty:", "--ppp", "pty:"], "--ether names a cable"),
        (["--ether", "ether:bochs:4002", "--ppp", "ether:bochs:4000"], "--ppp names a serial line"),
        (["--ether", "ether:nonsense", "--ppp", "pty:"], "ether:nonsense is not understood"),
        (["--ether", "ether:bochs:4000", "--ppp", "nonsense"], "'nonsense' is not a link"),
    ],
)
def test_main_says_it_and_returns_2(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.err.startswith("pppgate: ") and says in told.err and told.err.count("\n") == 1 and not told.out


def test_a_password_file_that_others_may_read_is_warned_of(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_bytes(b"x\r\n")
    for mode, warned in ((0o600, 0), (0o640, 1), (0o604, 1)):
        password.chmod(mode)
        warnings: list[str] = []
        config = parsed("--user", "me", "--password-file", str(password), warnings=warnings)
        assert config.credentials == Credentials(b"me", b"x")
        assert len(warnings) == warned
        assert not warned or f"chmod 600 {password}" in warnings[0]


@pytest.mark.parametrize(("size", "good"), [(255, True), (256, False), (5000, False)])
def test_a_password_is_at_most_255_octets(tmp_path: Path, size: int, good: bool) -> None:
    password = tmp_path / "password"
    password.write_bytes(b"x" * size + b"\n")
    os.chmod(password, 0o600)
    words = ["--user", "me", "--password-file", str(password)]
    if good:
        assert parsed(*words).credentials == Credentials(b"me", b"x" * size)
    else:
        with pytest.raises(ConfigError, match="PPP takes 1 to 255"):
            parsed(*words)


def test_a_script_with_a_mistake_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = tmp_path / "isp.chat"
    chat.write_text("OK\nTIMEOUT\n x y")
    with pytest.raises(ConfigError, match=r"isp.chat, line 3: TIMEOUT needs|isp.chat"):
        chat.write_text("\n\nTIMEOUT x")
        parsed("--chat", str(chat))
    chat.write_text("OK x")
    monkeypatch.setitem(sys.modules, "pexpect", None)
    with pytest.raises(ConfigError, match="pip install"):
        parsed("--chat", str(chat))


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(["--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    for word in ("examples", "--ether ether:unix-listen:/tmp/eth0 --ppp serial:", "ABORT BUSY", "exit status"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 120
