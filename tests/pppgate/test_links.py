"""What the user writes, and which kind of link comes of it."""

from pathlib import Path

import pytest

from pppgate.links import open_links
from serialport.port import PortError


def test_octets_and_frames_are_told_apart(tmp_path: Path) -> None:
    urls = ("pty:", f"uart:vfio-user:{tmp_path}/u", f"ne2k:vfio-user:{tmp_path}/n", f"ether:unix-listen:{tmp_path}/e")
    links = open_links(urls)
    assert [link.scheme for link in links.serial] == ["pty", "uart:vfio-user"]
    assert [link.scheme for link in links.ether] == ["ne2k:vfio-user", "ether:unix-listen"]
    assert [link.url for link in links.all] == [urls[0], urls[1], urls[2], urls[3]]
    assert not list(tmp_path.iterdir()), "nothing is made before the start"


def test_a_link_that_has_ended_is_removed_from_its_list() -> None:
    links = open_links(("pty:", "stdio:"))
    links.remove(links.serial[0])
    assert [link.scheme for link in links.all] == ["stdio"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("eher:unix-listen:/tmp/x", "ether:, uart:, ne2k:"),
        ("ether:", "ether:unix-listen:"),
        ("ether:unix-listne:/tmp/x", "ether:unix-listne:/tmp/x"),
        ("uart:/tmp/x", "uart:vfio-user:"),
        ("uart:vfio-user:/tmp/x,modle=16550A", "did you mean model=?"),
        ("uart:vfio-user:/tmp/x,model=16551", "model is one of"),
        ("ne2k:vfio-user:/tmp/x,memory=64k", "memory is one of 16k, 32k"),
        ("ne2k:vfio-user:/tmp/x,mac=52:54", "mac"),
    ],
)
def test_mistakes_are_one_sentence_that_says_what_to_write(url: str, words: str) -> None:
    with pytest.raises(PortError) as caught:
        open_links((url,))
    assert words in str(caught.value) and "\n" not in str(caught.value)
