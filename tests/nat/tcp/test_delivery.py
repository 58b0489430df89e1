"""nat.tcp.delivery: what is handed to a socket, in how many calls, and what stays when it takes less."""

import errno
from collections.abc import Sequence

import pytest

from nat.tcp.delivery import Delivery
from tests.support.tcp_peer import StreamSocket


class Sock(StreamSocket):
    """A stream that takes `room` octets in all, and notes the buffers of each call."""

    def __init__(self) -> None:
        super().__init__(1)
        self.calls: list[tuple[str, int]] = []
        self.taken = b""

    def _take(self, data: bytes) -> int:
        part = data[: self.room]
        if data and not part:
            raise BlockingIOError(errno.EAGAIN, "full")
        self.room -= len(part)
        self.taken += part
        return len(part)

    def send(self, data: bytes) -> int:
        self.calls.append(("send", 1))
        return self._take(data)

    def gather(self, buffers: Sequence[bytes]) -> int:
        self.calls.append(("gather", len(buffers)))
        return self._take(b"".join(buffers))


@pytest.fixture
def sock() -> Sock:
    return Sock()


def holding(*chunks: bytes) -> Delivery:
    delivery = Delivery()
    delivery.chunks += chunks
    delivery.size = sum(map(len, chunks))
    return delivery


@pytest.mark.parametrize(
    ("number", "call"), [(1, ("send", 1)), (2, ("gather", 2)), (512, ("gather", 512)), (513, ("send", 1))]
)
def test_512_buffers_in_one_call_and_more_are_joined(sock: Sock, number: int, call: tuple[str, int]) -> None:
    """Linux takes 1,024 (IOV_MAX)."""
    delivery = holding(*(b"%04d" % n for n in range(number)))
    delivery.push(sock)
    assert sock.calls == [call] and sock.taken == b"".join(b"%04d" % n for n in range(number))
    assert (delivery.size, delivery.chunks, delivery.blocked) == (0, [], False)


@pytest.mark.parametrize(
    ("room", "left"),
    [
        (0, [b"abc", b"def", b"ghi"]),
        (1, [b"bc", b"def", b"ghi"]),
        (2, [b"c", b"def", b"ghi"]),
        (3, [b"def", b"ghi"]),
        (4, [b"ef", b"ghi"]),
        (6, [b"ghi"]),
        (8, [b"i"]),
        (9, []),
    ],
)
def test_what_a_socket_does_not_take_stays(sock: Sock, room: int, left: list[bytes]) -> None:
    delivery = holding(b"abc", b"def", b"ghi")
    sock.room = room
    delivery.push(sock)
    assert delivery.chunks == left and delivery.size == sum(map(len, left))
    assert delivery.blocked == bool(left) and sock.taken == b"abcdefghi"[:room]
    sock.room = 100
    delivery.push(sock)
    assert sock.taken == b"abcdefghi" and not delivery.blocked and delivery.size == 0


def test_the_end_is_told_once(sock: Sock) -> None:
    """A StreamSocket takes it no second time."""
    delivery = Delivery()
    delivery.finish(sock)
    delivery.finish(sock)
    assert sock.shut and delivery.finished


def test_errors_are_the_callers(sock: Sock) -> None:
    delivery = holding(b"abc", b"def")
    sock.room = -1

    def broken(data: bytes) -> int:
        raise BrokenPipeError(errno.EPIPE, "gone")

    sock._take = broken  # type: ignore[method-assign]
    with pytest.raises(BrokenPipeError):
        delivery.push(sock)
    assert delivery.size == 6
