"""nat.stream: a pair in memory against a model, and against what the host's own stream does."""

import errno
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nat.host import HostStream
from nat.stream import Callback, MemoryStream, StreamSocket, memory_pair
from tests.support.fake_watcher import EpollWatcher


class Soon:
    """`call_soon` of an event loop that turns when it is told to."""

    def __init__(self) -> None:
        self.calls: deque[Callback] = deque()

    def __call__(self, callback: Callback) -> None:
        self.calls.append(callback)

    def turn(self, now: float = 0.0) -> int:
        number = len(self.calls)
        for _ in range(number):
            self.calls.popleft()(now)
        return number


Pair = tuple[StreamSocket, StreamSocket, Callable[[], object]]


def in_memory(capacity: int = 64 * 1024) -> tuple[MemoryStream, MemoryStream, Soon]:
    soon = Soon()
    return (*memory_pair(soon, capacity), soon)


def of_the_host() -> Pair:
    listener = socket.create_server(("127.0.0.1", 0))
    first = socket.create_connection(listener.getsockname())
    second, _ = listener.accept()
    listener.close()
    watcher = EpollWatcher()
    for sock in (first, second):
        sock.setblocking(False)
    return HostStream(first, watcher), HostStream(second, watcher), lambda: watcher.run_once(0.02)


@pytest.fixture(params=("memory", "host"))
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    if request.param == "host":
        one, other, turn = of_the_host()
    else:
        one, other, soon = in_memory()
        turn = soon.turn
    yield one, other, turn
    one.close()
    other.close()


step = st.tuples(st.booleans(), st.sampled_from(("send", "gather", "recv", "peek", "shutdown")), st.integers(1, 40))


@settings(max_examples=300, deadline=None)
@given(st.lists(step, max_size=80), st.integers(1, 50))
def test_any_order_of_calls_is_two_exact_streams(steps: list[tuple[bool, str, int]], capacity: int) -> None:
    one, other, _ = in_memory(capacity)
    ends = {True: one, False: other}
    sent = {True: bytearray(), False: bytearray()}
    received = {True: bytearray(), False: bytearray()}
    ended = {True: False, False: False}
    number = 0
    for side, action, size in steps:
        end, ahead = ends[side], len(sent[not side]) - len(received[side])
        if action in ("send", "gather"):
            number += 1
            data = bytes((number + n) % 256 for n in range(size))
            room = capacity - (len(sent[side]) - len(received[not side]))
            if ended[side]:
                with pytest.raises(BrokenPipeError):
                    end.send(data)
            elif not room:
                with pytest.raises(BlockingIOError):
                    end.send(data)
            else:
                taken = end.send(data) if action == "send" else end.gather([data[:3], data[3:5], data[5:]])
                assert taken == min(room, size)
                sent[side] += data[:taken]
        elif action == "shutdown":
            end.shutdown()
            ended[side] = True
        elif not ahead and not ended[not side]:
            with pytest.raises(BlockingIOError):
                end.recv(size)
        else:
            assert (action == "recv" or end.peek(size) == end.peek(size)) and end.readable
            if action == "recv":
                data = end.recv(size)
                assert len(data) == min(size, ahead)
                received[side] += data
        for each in (True, False):
            assert sent[each].startswith(received[not each])
            assert ends[each].readable == (len(sent[not each]) > len(received[each]) or ended[not each])
            full = len(sent[each]) - len(received[not each]) >= capacity
            assert ends[each].writable == (not full or ended[each])
    for side in (True, False):
        with suppress(BlockingIOError):
            while data := ends[side].recv(7):
                received[side] += data
        assert received[side] == sent[not side]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000), st.binary(max_size=3000), st.integers(1, 700), st.integers(1, 900))
def test_callbacks_alone_move_all_octets_both_ways(up: bytes, down: bytes, capacity: int, size: int) -> None:
    one, other, soon = in_memory(capacity)
    got: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
    ends: list[int] = []

    def serve(name: int, end: MemoryStream, data: bytes) -> None:
        rest = bytearray(data)

        def writable(now: float) -> None:
            if rest:
                del rest[: end.send(bytes(rest[:size]))]
            else:
                end.unwatch_write()
                end.shutdown()

        def readable(now: float) -> None:
            data = end.recv(size)
            got[name] += data
            if not data:
                ends.append(name)
                end.unwatch_read()

        end.watch_read(readable)
        end.watch_write(writable)

    serve(1, one, up)
    serve(2, other, down)
    for _ in range(20_000):
        if not soon.turn():
            break
    assert bytes(got[2]) == up and bytes(got[1]) == down and sorted(ends) == [1, 2]


def test_a_callback_is_never_called_from_within_a_call_and_not_after_it_is_switched_off(pair: Pair) -> None:
    one, other, turn = pair
    called: list[str] = []
    one.watch_read(lambda now: called.append("read"))
    one.watch_write(lambda now: called.append("write"))
    other.send(b"x")
    assert called == []
    for _ in range(3):
        turn()
    assert called.count("read") >= 2 and called.count("write") >= 2  # a level, not an edge
    one.unwatch_read()
    one.unwatch_write()
    called.clear()
    turn()
    turn()
    assert called == []


def test_one_direction_ends_and_the_other_goes_on(pair: Pair) -> None:
    one, other, turn = pair
    one.send(b"last words")
    one.shutdown()
    turn()
    assert other.peek(4) == b"last" and other.recv(100) == b"last words" and other.recv(100) == b""
    assert other.send(b"answer") == 6
    turn()
    assert one.recv(100) == b"answer"
    with pytest.raises(BlockingIOError):
        one.recv(1)
    with pytest.raises(OSError) as caught:
        one.send(b"more")
    assert caught.value.errno == errno.EPIPE


def test_what_was_sent_before_a_close_arrives_and_nobody_reads_any_more(pair: Pair) -> None:
    one, other, turn = pair
    one.send(b"bye")
    one.close()
    one.close()
    turn()
    assert other.recv(100) == b"bye" and other.recv(100) == b""
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for _ in range(10):
            other.send(b"x")
            turn()


@pytest.mark.parametrize("how", ("reset", "close with octets unread"))
def test_a_reset_is_an_error_at_the_other_end(pair: Pair, how: str) -> None:
    one, other, turn = pair
    other.send(b"unread")
    turn()
    called: list[float] = []
    if how == "reset":
        one.reset()
    else:
        one.close()
    other.watch_read(called.append)
    for _ in range(3):
        turn()
    assert called
    with pytest.raises(ConnectionResetError):
        other.recv(100)
    with pytest.raises(OSError):
        other.send(b"more")


def test_a_connected_stream_says_so(pair: Pair) -> None:
    assert [end.connect_error() for end in pair[:2]] == [0, 0]


def test_an_end_that_is_closed_is_called_no_more() -> None:
    one, other, soon = in_memory()
    called: list[float] = []
    one.watch_read(called.append)
    other.send(b"x")
    one.close()
    while soon.turn():
        pass
    assert not called
    with pytest.raises(OSError):
        one.recv(1)
