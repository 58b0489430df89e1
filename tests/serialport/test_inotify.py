"""inotify on a device node and on a file."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from serialport.inotify import IN_CLOSE, IN_CLOSE_NOWRITE, IN_CLOSE_WRITE, IN_OPEN, Inotify


@pytest.fixture
def inotify() -> Iterator[Inotify]:
    inotify = Inotify()
    yield inotify
    inotify.close()
    inotify.close()


def test_opening_and_closing_a_pty_slave_is_told(inotify: Inotify) -> None:
    master, slave = os.openpty()
    path = os.ttyname(slave)
    inotify.watch(path, IN_OPEN | IN_CLOSE)
    assert inotify.drain() == 0
    other = os.open(path, os.O_RDWR | os.O_NOCTTY)
    assert inotify.drain() == IN_OPEN
    os.close(other)
    assert inotify.drain() == IN_CLOSE_WRITE
    other = os.open(path, os.O_RDONLY | os.O_NOCTTY)
    os.close(other)
    assert inotify.drain() == IN_OPEN | IN_CLOSE_NOWRITE
    os.close(slave)
    os.close(master)


def test_unwatching_forgets_what_was_not_drained(inotify: Inotify, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("")
    inotify.watch(str(path), IN_OPEN)
    path.read_text()
    inotify.unwatch()
    path.read_text()
    assert inotify.drain() == 0
    inotify.watch(str(path), IN_OPEN)
    assert inotify.drain() == 0
    path.read_text()
    assert inotify.drain() == IN_OPEN


def test_many_events_are_read_to_the_end(inotify: Inotify, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("")
    inotify.watch(str(path), IN_OPEN | IN_CLOSE)
    for _ in range(1000):
        path.read_text()
    assert inotify.drain() == IN_OPEN | IN_CLOSE_NOWRITE
    assert inotify.drain() == 0


def test_errors_are_those_of_the_system_call(inotify: Inotify, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        inotify.watch(str(tmp_path / "none"), IN_OPEN)
    assert inotify.drain() == 0
