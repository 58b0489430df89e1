"""What the user may write for a link."""

import sys

import pytest

from serialport.port import PortError
from serialport.url import open_link


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("pty:", "pty"),
        ("pty:/tmp/com1", "pty"),
        ("tty:/dev/ttyS0", "tty"),
        ("/dev/ttyS0", "tty"),
        ("serial:/dev/ttyUSB0", "serial"),
        ("serial:/dev/ttyUSB0@9600", "serial"),
        ("serial:/dev/ttyUSB0@12345", "serial"),
        ("serial:rfc2217://host:4000@9600", "serial"),
        ("rfc2217://host:4000", "serial"),
        ("socket://host:4000", "serial"),
        ("tcp:host:4000", "tcp"),
        ("tcp-listen:4000", "tcp-listen"),
        ("tcp-listen:[::1]:4000", "tcp-listen"),
        ("unix:/tmp/s", "unix"),
        ("unix-listen:/tmp/s", "unix-listen"),
        ("stdio:", "stdio"),
    ],
)
def test_schemes(url: str, scheme: str) -> None:
    link = open_link(url)
    assert (link.url, link.scheme) == (url, scheme)
    assert link.description


@pytest.mark.parametrize(
    "url",
    [
        "",
        "pyt:",
        "com1",
        "tty:",
        "serial:",
        "serial:/dev/ttyS0@fast",
        "serial:/dev/ttyS0@0",
        "tcp:",
        "tcp:host",
        "unix:",
        "unix:/" + "x" * 108,
        "http://x",
    ],
)
def test_what_is_not_a_link_is_one_sentence(url: str) -> None:
    with pytest.raises(PortError) as caught:
        open_link(url)
    text = str(caught.value)
    assert text.endswith((".", ")."))
    assert "\n" not in text


def test_only_the_pyserial_links_import_pyserial() -> None:
    import subprocess

    code = (
        "import sys; from serialport.url import open_link\n"
        "for url in ('pty:', 'tty:/dev/ttyS0', 'serial:/dev/ttyS0@9600', 'tcp:h:1', 'unix:/s', 'stdio:'):\n"
        "    open_link(url)\n"
        "sys.exit('serial' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
