"""Frames with lengths before them: the Cutter by itself, and ports over real sockets."""

import random
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pppgate.ether.links.port import FRAME_MOST, HEADER
from pppgate.ether.links.stream import GATHERED_MOST, LENGTH_MOST, Cutter, StreamPort
from pppgate.ether.links.url import open_ether
from serialport.port import HangUp
from tests.support.fake_watcher import EpollWatcher


def framed(*frames: bytes) -> bytes:
    return b"".join(struct.pack("!I", len(frame)) + frame for frame in frames)


def cut_up(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in pieces, cut at these places."""
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[a:b] for a, b in zip(edges, edges[1:], strict=False)]


SIZES = st.one_of(
    st.integers(0, 80), st.integers(1500, 1530), st.integers(FRAME_MOST - 2, FRAME_MOST + 2), st.just(LENGTH_MOST)
)


# -- the Cutter


@given(st.lists(SIZES, max_size=12), st.lists(st.integers(0, 1 << 20), max_size=30), st.integers(0, 255))
def test_any_cutting_gives_the_same_frames(sizes: list[int], places: list[int], seed: int) -> None:
    frames = [random.Random(seed + n).randbytes(size) for n, size in enumerate(sizes)]
    wanted = [frame for frame in frames if HEADER <= len(frame) <= FRAME_MOST]
    whole: Counter[str] = Counter()
    assert Cutter(whole).feed(framed(*frames)) == wanted
    count: Counter[str] = Counter()
    cutter = Cutter(count)
    got = [frame for piece in cut_up(framed(*frames), places) for frame in cutter.feed(piece)]
    assert got == wanted
    assert count == whole
    assert sum(count.values()) == len(frames) - len(wanted)


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_nothing_that_comes_raises_or_is_kept(pieces: list[bytes]) -> None:
    cutter = Cutter(Counter())
    for piece in pieces:
        cutter.feed(piece)
        assert len(cutter._begun) < 4 + FRAME_MOST


def test_octet_by_octet() -> None:
    frames = [bytes([n]) * size for n, size in enumerate((14, 60, 1514))]
    cutter = Cutter(Counter())
    got = [frame for octet in framed(*frames) for frame in cutter.feed(bytes([octet]))]
    assert got == frames


def test_what_is_no_frame_is_counted_by_name() -> None:
    count: Counter[str] = Counter()
    good = bytes(60)
    assert Cutter(count).feed(framed(b"", good, bytes(13), good, bytes(FRAME_MOST + 1), good)) == [good] * 3
    assert count == {"ether.empty": 1, "ether.short": 1, "ether.long": 1}


def test_a_long_frame_is_not_kept_while_it_comes() -> None:
    count: Counter[str] = Counter()
    cutter = Cutter(count)
    assert cutter.feed(struct.pack("!I", LENGTH_MOST) + bytes(30000)) == []
    assert cutter._begun == b""
    assert cutter.feed(bytes(LENGTH_MOST - 30001)) == []
    assert cutter.feed(b"\0" + framed(bytes(60))) == [bytes(60)]
    assert count == {"ether.long": 1}


def test_nonsense_ends_it_after_the_frames_before() -> None:
    count: Counter[str] = Counter()
    cutter = Cutter(count)
    assert cutter.feed(framed(bytes(60)) + b"GET / HTTP/1.0\r\n\r\n") == [bytes(60)]
    assert "sent 1195725856 as the length of a frame" in cutter.trouble
    assert count == {"ether.bad_length": 1}
    assert cutter._begun == b""


# -- ports


@pytest.fixture
def ends() -> Iterator[tuple[StreamPort, socket.socket]]:
    ours, theirs = socket.socketpair()
    port = StreamPort("guest", ours, lambda: None)
    yield port, theirs
    port.close()
    theirs.close()


def test_frames_in_and_the_end(ends: tuple[StreamPort, socket.socket]) -> None:
    port, theirs = ends
    assert port.receive() == []
    theirs.sendall(framed(bytes(60), bytes(1514))[:-1])
    assert port.receive() == [bytes(60)]
    theirs.sendall(b"\0")
    assert port.receive() == [bytes(1514)]
    theirs.sendall(framed(bytes(70)))
    theirs.close()
    assert port.receive() == [bytes(70)]
    with pytest.raises(HangUp, match="closed by the other side"):
        port.receive()
    assert port.send([bytes(60)] * 3) == 3  # as if taken
    port.close()
    port.close()
    with pytest.raises(HangUp):
        port.receive()


def test_nonsense_is_a_hangup_after_the_frames_before(ends: tuple[StreamPort, socket.socket]) -> None:
    port, theirs = ends
    theirs.sendall(framed(bytes(60)) + b"\xff" * 100)
    assert port.receive() == [bytes(60)]
    with pytest.raises(HangUp, match="does not speak QEMU's -netdev stream"):
        port.receive()
    assert port.count == {"ether.bad_length": 1}


def test_nonsense_alone_is_a_hangup_at_once(ends: tuple[StreamPort, socket.socket]) -> None:
    port, theirs = ends
    theirs.sendall(b"\xff" * 100)
    with pytest.raises(HangUp):
        port.receive()


def test_frames_out(ends: tuple[StreamPort, socket.socket]) -> None:
    port, theirs = ends
    frames = [bytes([n]) * 60 for n in range(5)]
    assert port.send(frames) == 5
    assert theirs.recv(65536) == framed(*frames)
    assert port.send([]) == 0


def test_more_frames_than_one_write_takes(ends: tuple[StreamPort, socket.socket]) -> None:
    port, theirs = ends
    theirs.setblocking(False)
    frames = [struct.pack("!I", n) + bytes(10) for n in range(GATHERED_MOST * 2 + 10)]
    cutter, got, sent = Cutter(Counter()), [], 0
    while sent < len(frames):
        sent += port.send(frames[sent:])
        try:
            while True:
                got += cutter.feed(theirs.recv(65536))
        except BlockingIOError:
            pass
    assert got == frames


@given(st.lists(st.integers(HEADER, 9018), min_size=1, max_size=25), st.lists(st.integers(1, 40000), min_size=1))
def test_partial_writes_lose_and_repeat_nothing(sizes: list[int], reads: list[int]) -> None:
    ours, theirs = socket.socketpair()
    port = StreamPort("guest", ours, lambda: None)
    theirs.setblocking(False)
    frames = [random.Random(n).randbytes(size) for n, size in enumerate(sizes)]
    rest, stream, turn = list(frames), b"", 0
    while rest:
        del rest[: port.send(rest)]
        assert len(port._unsent) < 4 + FRAME_MOST
        stream += theirs.recv(reads[turn % len(reads)])
        turn += 1
    port.close()
    theirs.setblocking(True)
    while data := theirs.recv(65536):
        stream += data
    theirs.close()
    assert stream == framed(*frames)


def test_the_first_frame_of_the_next_call_is_taken_for_the_one_begun() -> None:
    """So that a stream is never torn, whatever the owner does with what was not taken."""

    class Narrow:
        """Takes `room` octets."""

        def __init__(self) -> None:
            self.data, self.room = b"", 0

        def sendmsg(self, pieces: list[bytes]) -> int:
            if not self.room:
                raise BlockingIOError
            data = b"".join(pieces)[: self.room]
            self.data += data
            self.room -= len(data)
            return len(data)

    ours, theirs = socket.socketpair()
    port = StreamPort("guest", ours, lambda: None)
    narrow = Narrow()
    port._sock = narrow  # type: ignore[assignment]
    first, second, third = bytes([1]) * 60, bytes([2]) * 60, bytes([3]) * 60
    for room, frames, taken in (
        (2, [first, second], 0),
        (3, [second], 0),
        (59 + 64 + 4, [second, third, first], 2),
        (60, [second], 1),
    ):
        narrow.room = room
        assert port.send(frames) == taken
    assert narrow.data == framed(first, third, first)
    ours.close()
    theirs.close()


# -- links


@pytest.fixture
def watcher() -> Iterator[EpollWatcher]:
    watcher = EpollWatcher()
    yield watcher
    watcher.close()


@pytest.mark.parametrize("kind", ["unix-listen", "tcp-listen"])
def test_a_port_for_each_connection(kind: str, watcher: EpollWatcher, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    path = str(tmp_path / "eth0")
    link = open_ether(f"ether:{kind}:{path if kind == 'unix-listen' else number}")
    assert link.scheme == f"ether:{kind}"
    assert link.path == (path if kind == "unix-listen" else f"127.0.0.1:{number}")
    ports: list[StreamPort] = []
    link.start(watcher, ports.append)  # type: ignore[arg-type]
    guests = []
    for _ in range(2):
        guest = socket.socket(socket.AF_UNIX if kind == "unix-listen" else socket.AF_INET)
        guest.connect(path if kind == "unix-listen" else ("127.0.0.1", number))
        guests.append(guest)
    watcher.run_until(lambda: len(ports) == 2)
    assert ports[0].name != ports[1].name
    assert not ports[0].lossless
    guests[1].sendall(framed(bytes(60)))
    watcher.watch_read(ports[1].fd, lambda now: got.extend(ports[1].receive()))
    got: list[bytes] = []
    watcher.run_until(lambda: bool(got))
    assert ports[0].send([b"x" * 60]) == 1
    assert guests[0].recv(100) == framed(b"x" * 60)
    watcher.unwatch_read(ports[1].fd)
    ports[0].close()
    assert guests[0].recv(1) == b""
    link.stop()
    assert guests[1].recv(1) == b""
    for guest in guests:
        guest.close()
    assert watcher.run(0.02) == 0
