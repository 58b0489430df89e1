"""nat.tcp.flow and nat.tcp.flows against the guest model of tcp_peer: exactness under faults, RFC 9293 by section."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nat.context import Context
from nat.deadlines import Deadlines
from nat.line import FLOW_MOST, Line
from nat.stream import Callback, memory_pair
from nat.tcp.flow import TcpFlow
from nat.wire.tcp import ACK, SYN, SynOptions, build_segment, syn_options
from tests.support.tcp_peer import GUEST, OUTSIDE, GuestTcp, StreamHost, World, make_table


def exchange(world: World, up: bytes, down: bytes, limit: float = 100_000.0, **options: object) -> GuestTcp:
    """A whole connection: the guest sends `up`, the outside `down`, both close."""
    guest = GuestTcp(world, to_send=up, **options)  # type: ignore[arg-type]
    guest.connect()
    world.run(lambda: guest.established, limit)
    sock = world.host.sockets[0]
    sock.arriving += down
    sock.remote_closed = True
    world.run(lambda: guest.remote_fin and (sock.shut or sock.closed) and guest.una == len(up) + 2, limit)
    assert bytes(guest.received) == down
    assert bytes(sock.delivered) == up
    return guest


def test_a_connection_from_end_to_end() -> None:
    world = World()
    exchange(world, b"GET /\r\n", b"hello")
    world.run(lambda: not world.table.flows)
    assert world.host.sockets[0].closed and not world.host.sockets[0].was_reset
    assert not world.host.sockets[0].reader and not world.host.sockets[0].writer


class SlowWorld(World):
    """Toward the guest, octets pass one after the other, and nobody can tell how many wait: a slow line behind TCP."""

    rate = 5_000.0
    free_at = 0.0

    def transmit(self, packet: bytes, to_guest: bool) -> None:
        delay = self.delay
        if to_guest:
            self.free_at = max(self.free_at, self.now) + len(packet) / self.rate
            self.delay = self.free_at - self.now
        super().transmit(packet, to_guest)
        self.delay = delay


@pytest.mark.parametrize("window", (2_920, 8_760))
def test_a_line_that_is_much_slower_for_full_segments_is_not_sent_everything_twice(window: int) -> None:
    """The handshake's round trip is short, that of a full segment 0.3 s: a probe for a lost tail sends again what was
    not lost, and must not keep the sender from learning how long it takes (seen with Bochs's com1 over TCP: twice as
    many, and no end of them).  What is left are time-outs, until the timer has learned."""
    world = SlowWorld(delay=0.005)
    exchange(world, b"GET /\r\n", Random(5).randbytes(50_000), window=window)
    assert world.table.context.count["tcp.retransmitted"] < 30


@pytest.mark.parametrize("sack", (False, True))
@pytest.mark.parametrize("loss", (0.0, 0.01, 0.1, 0.3))
def test_exact_under_loss(loss: float, sack: bool) -> None:
    data = Random(7).randbytes(200_000)
    world = World(seed=3, delay=0.05, loss=loss)
    exchange(world, data[:100_000], data, sack=sack)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    up=st.integers(0, 60_000),
    down=st.integers(0, 60_000),
    loss=st.sampled_from((0.0, 0.02, 0.2)),
    duplication=st.sampled_from((0.0, 0.1)),
    reordering=st.sampled_from((0.0, 0.2)),
    delay=st.sampled_from((0.0, 0.001, 0.1)),
    window=st.sampled_from((500, 3000, 32768, 65535)),
    mss=st.sampled_from((48, 536, 1460)),
    sack=st.booleans(),
    scale=st.sampled_from((None, 0, 7)),
    mtu=st.sampled_from((296, 1500)),
)
def test_every_octet_exactly_once(
    seed: int, up: int, down: int, loss: float, duplication: float, reordering: float, delay: float, window: int,
    mss: int, sack: bool, scale: int | None, mtu: int,
) -> None:  # fmt: skip
    random = Random(seed)
    world = World(seed=seed, delay=delay, loss=loss, duplication=duplication, reordering=reordering, mtu=mtu)
    if mss == 48:
        up, down = up // 10, down // 10
    exchange(world, random.randbytes(up), random.randbytes(down), window=window, mss=mss, sack=sack, scale=scale)


@pytest.mark.parametrize("mtu", (296, 1500))
def test_nothing_is_dropped_in_front_of_a_fast_line(mtu: int) -> None:
    """What a flow reads from its socket fits into the line's queue, headers and all."""
    host = StreamHost()
    line = Line(GUEST, mtu, lambda: None, Counter())
    line.up, line.flow_limit = True, FLOW_MOST
    table = make_table(host, line)  # type: ignore[arg-type]
    options = syn_options(mtu - 40, 7, True)
    syn = build_segment(GUEST, 5000, OUTSIDE, 80, sequence=1, flags=SYN, window=65535, options=options)
    table.receive(syn, 0.0)
    host.ready(0.0)
    (flow,) = table.flows.values()
    acknowledgement = flow.sender.snd_nxt & 0xFFFFFFFF
    ack = build_segment(GUEST, 5000, OUTSIDE, 80, sequence=2, acknowledgement=acknowledgement, flags=ACK, window=65535)
    table.receive(ack, 0.0)
    table.context.dirty.flush(0.0)
    flow.sender.recovery.cwnd = 1 << 20
    line.take(1 << 20)
    host.sockets[0].arriving += bytes(1 << 20)
    while host.ready(0.0):
        table.context.dirty.flush(0.0)
    assert line.count["line.queue_full"] == 0
    assert line.room(flow.key) < 2 * mtu
    sent = sum(len(packet) - 40 for packet in line.take(1 << 20))
    assert sent == flow.sender.snd_nxt - flow.sender.snd_una


class QueueLine(Line):
    """A real line with a hidden queue behind it, which gives a little of what waits each time it is looked at."""

    def __init__(self) -> None:
        super().__init__(GUEST, 1500, lambda: None, Counter())
        self.flight.reset(1500, hidden=True)
        self.up = True

    @property
    def sent(self) -> list[bytes]:
        return self.take(4000)

    @sent.setter
    def sent(self, sent: list[bytes]) -> None: ...


@pytest.mark.parametrize("loss", (0.0, 0.05))
def test_many_flows_that_share_a_lines_room_all_come_to_their_end(loss: float) -> None:
    world = World(seed=2, delay=0.01, loss=loss)
    line = QueueLine()
    world.line = line  # type: ignore[assignment]
    world.table = make_table(world.host, line, 2)  # type: ignore[arg-type]
    guests = [GuestTcp(world, port=40000 + number, to_send=b"GET /", window=20_000) for number in range(30)]
    for guest in guests:
        guest.connect()
    world.run(lambda: all(guest.established for guest in guests))
    for number, sock in enumerate(world.host.sockets):
        sock.arriving += bytes(3000 * number)
        sock.remote_closed = True
    world.run(lambda: all(guest.remote_fin for guest in guests), 600.0)
    assert sorted(len(guest.received) for guest in guests) == [3000 * number for number in range(30)]
    assert line.turn is None and not line._row and not world.table.context.dirty


def test_a_small_window_is_served_though_others_always_stand_in_the_row() -> None:
    """The override of silly window avoidance (RFC 9293 section 3.8.6.2.1) is the timer's, and so little is sent then
    that it waits for nobody: other downloads on a line that hides its queue would keep the row full forever."""
    now = 1000.0
    context = Context(None, None, Deadlines(), Random(1), print)  # type: ignore[arg-type]
    line = Line(GUEST, 1500, lambda: None, context.count)
    line.flight.reset(1500, hidden=True)
    line.up = True
    soon: list[Callback] = []
    stream, application = memory_pair(soon.append)
    key = GUEST + OUTSIDE + (2000).to_bytes(2, "big") + (80).to_bytes(2, "big")
    flow = TcpFlow(context, line, key, stream, lambda flow: None)

    def hear(window: int) -> None:
        acknowledged = flow.sender.snd_nxt
        segment = build_segment(
            GUEST, 2000, OUTSIDE, 80, sequence=8, acknowledgement=acknowledged, flags=ACK, window=window
        )
        flow.receive(segment, now)

    def wake_up() -> None:
        calls, soon[:] = soon[:], []
        for call in calls:
            call(now)
        context.dirty.flush(now)

    class Bulk:
        """Another download that uses each of its turns and stands in the row again."""

        def wake(self) -> None:
            context.dirty.flow(self)

        def flush(self, now: float) -> None:
            if line.turn == b"bulk":
                line.flight.flying += 1500
                line.pass_on()
            line.wait(b"bulk", self, 1500)

    flow.answer(7, 30_000, SynOptions(1460, None, False), now)
    hear(30_000)
    wake_up()
    line.flight.flying = line.flight.window
    line.wait(b"bulk", Bulk(), 1500)
    hear(500)
    application.send(b"x" * 20_000)
    wake_up()
    wake_up()
    for _ in range(100):
        now += 0.05
        line.flight.flying -= 1500
        line.offer()
        wake_up()
        context.deadlines.expire(now)
        wake_up()
        line.take(10**6)
    assert len(flow.sender.unacked) == 500
