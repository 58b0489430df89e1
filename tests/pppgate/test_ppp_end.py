"""PppEnd: its part of a wake-up, on a port that does what a test wants."""

import json
import math
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from ipcp.protocol import Ipcp
from lcp.codec import Codec, Stage
from lcp.config import LinkConfig
from lcp.events import Event, LinkDown, NetworkUp
from lcp.hdlc import Deframer
from lcp.link import Phase
from lcp.packet import build
from nat.deadlines import Deadlines
from nat.dirty import Dirty
from nat.line import Line
from pppgate.ether.tap import Clock, P, Send
from pppgate.ppp_end import LAST_WORD, PppEnd
from pppgate.tap import Frame, Receive
from serialport.port import HangUp, port_status
from tests.support.faults import Faults
from tests.support.ppp_ends import DNS, GATEWAY, GUEST, End, OtherNcp, Wire, client, lender_of, server
from tests.support.watching import Watching

NOW = 1000.0


class Port:
    name = "fake"
    kind = "fake"
    hides_queue = False
    read_fd = write_fd = 7

    def __init__(self) -> None:
        self.incoming: list[bytes] = []
        self.written = b""
        self.capacity = 1 << 30
        self.held = 0
        self.knows = True
        self.hung_up = self.closed = False
        self.dribbles = True

    def read(self) -> bytes:
        if self.incoming:
            return self.incoming.pop(0)
        if self.hung_up:
            raise HangUp("it was closed")
        return b""

    def write(self, data: bytes) -> int:
        taken = data[: self.capacity]
        self.capacity -= len(taken)
        self.written += taken
        self.held += len(taken)
        return len(taken)

    def pending(self) -> int:
        return self.held if self.knows else -1

    def status(self) -> dict[str, object]:
        return port_status(self)

    def close(self) -> None:
        self.closed = True


class Watcher(Watching):
    def __init__(self) -> None:
        super().__init__()
        self.timers: list[tuple[float, Callable[[float], None]]] = []

    def now(self) -> float:
        return NOW

    def call_at(self, when: float, callback: Callable[[float], None]) -> None:
        self.timers.append((when, callback))


class Listener:
    """A tap that notes what is received."""

    def __init__(self, frames: list[bytes]) -> None:
        self._frames = frames

    def wrap_ppp(self, name: str, clock: Clock, receive: Receive, frame: Frame) -> tuple[Receive, Frame]:
        def noted(octets: bytes, now: float) -> None:
            self._frames.append(octets)
            receive(octets, now)

        return noted, frame

    def wrap_ethernet(
        self, name: str, clock: Clock, receive: Callable[[P, bytes, float], None], send: Send
    ) -> tuple[Callable[[P, bytes, float], None], Send]:
        return receive, send


class Rig:
    """An end that has negotiated with `peer`; `frames` are those that came in since, as a tap sees them."""

    def __init__(self, echo_interval: float = 0.0) -> None:
        self.port, self.watcher, self.deadlines = Port(), Watcher(), Deadlines()
        self.dirty = Dirty()
        self.events: list[Event] = []
        self.ended: list[str] = []
        self.frames: list[bytes] = []
        self.end = PppEnd(
            self.port,
            self.watcher,  # type: ignore[arg-type]
            self.deadlines,
            self.dirty,
            LinkConfig(echo_interval=echo_interval),
            random=Random(1),
            name="fake",
            on_event=self.events.append,
            on_hang_up=lambda reason, now: self.ended.append(reason),
            taps=(Listener(self.frames),),
        )
        self.end.attach(Ipcp.server(GATEWAY, lender_of(lambda wanted: GUEST), [DNS]))
        self.line = Line(GUEST, 1500, self.end.mark, Counter())
        self.line.up = True
        self.peer = client(echo_interval=0.0)
        self.peer.start(NOW)
        self.end.start(NOW)
        self.end.connect(0x0021, self.line)
        for _ in range(20):
            self.finish(NOW)
            self.peer.feed(self.port.written, NOW)
            self.port.written, self.port.held = b"", 0
            self.port.incoming = [self.peer.take()]
            self.watcher.readers[7](NOW)
        assert self.end.link.phase is Phase.NETWORK and isinstance(self.events[-1], NetworkUp)
        self.finish(NOW)
        self.frames.clear()
        self.watcher.timers.clear()

    def finish(self, now: float) -> None:
        """The end of a wake-up."""
        self.dirty.flush(now)

    def echo_reply(self, size: int = 0) -> bytes:
        """A frame of the peer that is answered by nothing."""
        return self.peer.framer.frame(0xC021, build(10, 1, bytes(4 + size)))


def test_what_comes_in_is_deframed_and_handed_on() -> None:
    rig = Rig()
    frame = rig.echo_reply()
    rig.port.incoming = [b"~" + frame[:3], frame[3:]]
    rig.watcher.readers[7](NOW)
    rig.watcher.timers.pop()[1](NOW)
    assert rig.frames == [b"\xc0\x21\x0a\x01\x00\x08" + bytes(4)]


def test_control_frames_go_ahead_of_packets_in_one_write_after_one_flag() -> None:
    rig = Rig()
    rig.line.send(b"\x45" + bytes(50), "flow")
    rig.end._emit(0xC021, b"\x09\x01\x00\x04")
    rig.finish(NOW)
    assert rig.port.written.startswith(b"~" + rig.end.framer.frame(0xC021, b"\x09\x01\x00\x04"))
    assert rig.port.written.count(b"~") == 3


def test_a_slow_line_is_looked_at_again_until_all_is_sent() -> None:
    rig = Rig()
    for _ in range(10):
        rig.line.send(b"\x45" + bytes(1499), "flow")
    rig.finish(NOW)
    now = NOW
    for _ in range(100):
        if not rig.line.queued:
            break
        now = rig.deadlines.next()
        assert now < math.inf, "nobody will come back for what waits"
        rig.port.held = 0
        rig.deadlines.expire(now)
        rig.finish(now)
    assert not rig.line.queued


def test_what_waits_goes_on_when_a_full_port_turns_out_to_be_slow() -> None:
    """Blocked, then writable, and metered from there on: the deadline has to be armed from the callback too."""
    rig = Rig()
    rig.port.knows = False  # the meter cannot tell, and writes until it blocks
    rig.port.capacity = 10_000
    now = NOW
    for _ in range(100):
        rig.line.send(b"\x45" + bytes(1499), "flow")
    rig.finish(now)
    rig.port.knows = True
    for _ in range(300):
        if not rig.line.queued:
            break
        now += 0.05
        rig.port.held = 0
        if 7 in rig.watcher.writers:
            rig.port.capacity = 5000  # 100 KB/s
            rig.watcher.writers[7](now)
        else:
            assert rig.deadlines.next() < math.inf, "nobody will come back for what waits"
            rig.deadlines.expire(max(now, rig.deadlines.next()))
        rig.finish(now)
    assert not rig.line.queued


def test_the_links_deadline_is_the_ends() -> None:
    rig = Rig(echo_interval=5.0)
    assert rig.deadlines.next() == NOW + 5
    rig.deadlines.expire(NOW + 5)
    rig.finish(NOW + 5)
    assert rig.deadlines.next() == NOW + 10
    (echo,) = Deframer().feed(rig.port.written)
    assert echo[:3] == b"\xc0\x21\x09"


def test_an_idle_end_asks_for_no_wake_up() -> None:
    rig = Rig()
    rig.line.send(b"\x45" + bytes(50), "flow")
    rig.finish(NOW)
    assert rig.deadlines.next() == math.inf


def test_hang_up_takes_the_link_down_and_lets_go_of_everything_once() -> None:
    rig = Rig()
    rig.port.incoming = [b"~last words~"]
    rig.port.hung_up = True
    rig.watcher.readers[7](NOW)
    rig.watcher.readers[7](NOW) if 7 in rig.watcher.readers else None
    assert rig.ended == ["it was closed"] and rig.events.count(LinkDown("the line was cut")) == 1
    assert rig.port.closed and not rig.watcher.readers and not rig.watcher.writers
    rig.end.hang_up("again", NOW)
    rig.end.mark()
    assert rig.ended == ["it was closed"]


def test_control_frames_for_a_line_that_takes_nothing_are_bounded() -> None:
    rig = Rig()
    rig.port.capacity = 0
    for _ in range(10_000):
        rig.end._emit(0xC021, b"\x09\x01\x00\x04")
        rig.finish(NOW)
    assert len(rig.end._control) <= 64 and rig.end.counters["guest.control_full"] > 9_000


def test_a_frame_that_dribbles_in_is_waited_for() -> None:
    """QEMU's 16550 over a pty: 16 octets a write, which would be ten thousand wake-ups a second."""
    rig = Rig()
    frame = b"~" + rig.echo_reply(80)
    rig.port.incoming = [frame[:16]]
    rig.watcher.readers[7](NOW)
    assert 7 not in rig.watcher.readers and len(rig.watcher.timers) == 1
    rig.port.incoming = [frame[16:60]]
    when, look = rig.watcher.timers.pop()
    look(when)
    assert 7 not in rig.watcher.readers and len(rig.watcher.timers) == 1
    rig.port.incoming = [frame[60:]]
    when, look = rig.watcher.timers.pop()
    look(when)
    assert len(rig.frames) == 1
    assert 7 in rig.watcher.readers and not rig.watcher.timers


def test_a_frame_that_never_ends_is_not_waited_for_without_end() -> None:
    rig = Rig()
    rig.port.incoming = [b"~begun"]
    rig.watcher.readers[7](NOW)
    when, look = rig.watcher.timers.pop()
    look(when)
    assert 7 in rig.watcher.readers and not rig.watcher.timers


def test_a_port_that_ends_while_it_is_waited_for() -> None:
    rig = Rig()
    rig.port.incoming = [b"~begun"]
    rig.watcher.readers[7](NOW)
    rig.port.hung_up = True
    when, look = rig.watcher.timers.pop()
    look(when)
    assert rig.ended == ["it was closed"]
    look(when)
    assert not rig.watcher.readers


def test_a_socket_is_read_at_once() -> None:
    rig = Rig()
    rig.port.dribbles = False
    rig.port.incoming = [b"~begun"]
    rig.watcher.readers[7](NOW)
    assert 7 in rig.watcher.readers and not rig.watcher.timers


def test_what_the_line_said_before_is_the_first_that_is_heard() -> None:
    gateway, peer = server(), client()
    peer.start(NOW)
    gateway.start(NOW, peer.take())
    assert [packet[0] for protocol, packet in gateway.sent if protocol == 0xC021] == [1, 2]  # our request, our Ack


def test_everything_about_an_end_is_plain_data() -> None:
    rig = Rig()
    rig.port.capacity = 0
    rig.line.send(b"\x45" + bytes(99), "flow")
    status = json.loads(json.dumps(rig.end.status()))
    assert status["name"] == "fake" and status["waiting"] == {"0x0021": 100} and status["metered"] is True
    assert status["port"] == {"name": "fake", "kind": "fake", "hides_queue": False, "dribbles": True, "pending": 0}
    assert status["link"]["phase"] == "network" and status["link"]["identity"] is None
    assert status["link"]["networks"]["IPCP"]["state"] == "opened"
    assert "remote 10.0.2.15" in status["link"]["networks"]["IPCP"]["addresses"]
    assert status["counters"]["hdlc.frames"] > 3
    rig.end.hang_up("enough", NOW)
    status = json.loads(json.dumps(rig.end.status()))
    assert status["link"]["phase"] == "dead" and status["link"]["networks"]["IPCP"]["addresses"] == ""


# Network protocols beside each other


class Pair:
    """Two ends with IP and a protocol that nobody has heard of, each with a line for both."""

    def __init__(self, **config: Any) -> None:
        self.a, self.b = server(**config), client(**config)
        self.got: dict[End, list[tuple[int, bytes]]] = {self.a: [], self.b: []}
        self.lines: dict[tuple[End, int], Line] = {}
        for end in (self.a, self.b):
            end.attach(OtherNcp())
            for number in (0x0021, 0x00F1):
                end.deliver(number, self._taker(end, number))
                line = self.lines[end, number] = Line(bytes(4), 1500, end.mark, Counter())
                line.up = True
                end.connect(number, line)
        self.wire = Wire(self.a, self.b)
        self.wire.up()
        self.wire.settle()

    def _taker(self, end: End, number: int) -> Callable[[bytes, float], None]:
        return lambda packet, now: self.got[end].append((number, packet))

    def send(self, end: End, packet: bytes, number: int = 0x0021) -> None:
        self.lines[end, number].send(packet, "flow")
        self.wire.settle()

    def put(self, make: Callable[[], Codec], stage: Stage = Stage.PACKETS) -> None:
        self.a.put_codec(make(), stage)
        self.b.put_codec(make(), stage)


@pytest.mark.parametrize("pfc", [True, False])
def test_two_network_protocols_carry_packets_beside_each_other(pfc: bool) -> None:
    pair = Pair(pfc=pfc)
    for number, packet in ((0x0021, b"ip"), (0x00F1, b"other"), (0x0021, b"ip again")):
        pair.send(pair.a, packet, number)
        pair.send(pair.b, packet + b" back", number)
    assert pair.got[pair.b] == [(0x0021, b"ip"), (0x00F1, b"other"), (0x0021, b"ip again")]
    assert pair.got[pair.a] == [(0x0021, b"ip back"), (0x00F1, b"other back"), (0x0021, b"ip again back")]


def test_one_protocol_that_has_much_to_say_does_not_keep_the_other_waiting() -> None:
    pair = Pair()
    for number in (0x0021, 0x00F1):
        for n in range(90):
            assert pair.lines[pair.a, number].send(bytes((n,)) * 1400, "flow")
    shares = []
    for _ in range(10):
        frames = Deframer().feed(pair.a._take(3000)[0])
        shares.append({frame[0] for frame in frames})
    assert shares in ([{0x21}, {0xF1}] * 5, [{0xF1}, {0x21}] * 5)


def test_a_disconnected_line_is_left_alone() -> None:
    pair = Pair()
    pair.a.disconnect(0x0021)
    pair.send(pair.a, b"not now")
    assert pair.lines[pair.a, 0x0021].queued and not pair.got[pair.b]
    pair.a.connect(0x0021, pair.lines[pair.a, 0x0021])
    pair.a.mark()
    pair.wire.settle()
    assert pair.got[pair.b] == [(0x0021, b"not now")]


# Codecs


class Dropper:
    """Lets nothing through that begins with an x, either way."""

    def encode(self, protocol: int, packet: bytes) -> tuple[int, bytes] | None:
        return None if packet.startswith(b"x") else (protocol, packet)

    decode = encode

    def reset(self, longest: int) -> None: ...


class Expander:
    """Ten octets before each packet, and another number; what would become too long is left as it is, if `careful`."""

    def __init__(self, *, careful: bool = False) -> None:
        self.careful = careful
        self.longest = 0

    def encode(self, protocol: int, packet: bytes) -> tuple[int, bytes] | None:
        if self.careful and len(packet) + 10 > self.longest:
            return protocol, packet
        return 0x00FD, protocol.to_bytes(2, "big") + b"expanded" + packet

    def decode(self, protocol: int, information: bytes) -> tuple[int, bytes] | None:
        if protocol != 0x00FD:
            return protocol, information
        return int.from_bytes(information[:2], "big"), information[10:]

    def reset(self, longest: int) -> None:
        self.longest = longest


class Numberer:
    """Says of each packet how many there were before, and takes only the one that is next."""

    def __init__(self) -> None:
        self.sent = self.got = 7  # as from an earlier life

    def encode(self, protocol: int, packet: bytes) -> tuple[int, bytes] | None:
        self.sent += 1
        return protocol, bytes((self.sent,)) + packet

    def decode(self, protocol: int, information: bytes) -> tuple[int, bytes] | None:
        if information[:1] != bytes((self.got + 1,)):
            return None
        self.got += 1
        return protocol, information[1:]

    def reset(self, longest: int) -> None:
        self.sent = self.got = 0


class Shrinker:
    """All packets are the same to it."""

    def encode(self, protocol: int, packet: bytes) -> tuple[int, bytes] | None:
        return protocol, b"*"

    def decode(self, protocol: int, information: bytes) -> tuple[int, bytes] | None:
        return protocol, bytes(1000)

    def reset(self, longest: int) -> None: ...


def test_a_codec_may_drop_packets_and_each_is_counted() -> None:
    pair = Pair()
    pair.a.put_codec(Dropper(), Stage.HEADERS)
    for packet in (b"one", b"xtwo", b"three"):
        pair.send(pair.a, packet)
        pair.send(pair.b, packet)
    assert [packet for _, packet in pair.got[pair.b]] == [b"one", b"three"] == [p for _, p in pair.got[pair.a]]
    assert pair.a.counters["codec.not_encoded"] == 1 == pair.a.counters["codec.not_decoded"]


def test_a_codec_may_expand_packets_up_to_what_the_peer_takes() -> None:
    pair = Pair(mru=600)
    pair.put(Expander)
    pair.a.sent.clear()
    for size in (1, 590, 591, 600):
        pair.send(pair.a, bytes(size))
    pair.send(pair.a, b"another protocol", 0x00F1)
    assert [(number, len(packet)) for number, packet in pair.got[pair.b]] == [(0x21, 1), (0x21, 590), (0xF1, 16)]
    assert {number for number, _ in pair.a.sent} == {0x00FD}
    assert pair.a.counters["codec.too_long"] == 2 and pair.a.longest == 600


def test_a_codec_knows_what_the_peer_takes_and_may_leave_a_packet_as_it_is() -> None:
    pair = Pair(mru=600)
    pair.put(lambda: Expander(careful=True))
    for size in (1, 590, 591, 600):
        pair.send(pair.a, bytes(size))
    assert [len(packet) for _, packet in pair.got[pair.b]] == [1, 590, 591, 600]
    assert not pair.a.counters["codec.too_long"]


def test_a_codec_with_a_memory_is_in_step_again_after_a_renegotiation() -> None:
    pair = Pair()
    pair.put(Numberer)
    for n in range(3):
        pair.send(pair.a, b"%d" % n)
    pair.b.link.down(1.0)  # the guest reboots: its codec has forgotten everything
    pair.b.link.up(1.0)
    pair.wire.settle()
    assert pair.a.link.phase is Phase.NETWORK
    for n in range(3, 6):
        pair.send(pair.a, b"%d" % n)
        pair.send(pair.b, b"back")
    assert [packet for _, packet in pair.got[pair.b]] == [b"%d" % n for n in range(6)]
    assert len(pair.got[pair.a]) == 3 and not pair.a.counters["codec.not_decoded"]


def test_codecs_are_undone_in_the_opposite_order_whenever_they_were_put_in() -> None:
    pair = Pair()
    pair.a.put_codec(Numberer(), Stage.PACKETS)
    pair.a.put_codec(Expander(), Stage.HEADERS)
    pair.b.put_codec(Expander(), Stage.HEADERS)
    pair.b.put_codec(Numberer(), Stage.PACKETS)
    pair.send(pair.a, b"there")
    pair.send(pair.b, b"and back")
    assert pair.got[pair.b] == [(0x21, b"there")] and pair.got[pair.a] == [(0x21, b"and back")]


def test_a_codec_taken_out_is_gone_both_ways() -> None:
    pair = Pair()
    ours, theirs = Expander(), Expander()
    pair.a.put_codec(ours, Stage.PACKETS)
    pair.b.put_codec(theirs, Stage.PACKETS)
    pair.send(pair.a, b"in")
    pair.a.take_codec_out(ours)
    pair.b.take_codec_out(theirs)
    pair.a.sent.clear()
    pair.send(pair.a, b"out")
    assert pair.a.sent == [(0x21, b"out")] and [packet for _, packet in pair.got[pair.b]] == [b"in", b"out"]
    pair.b.take_codec_out(theirs)


def test_control_packets_never_pass_through_a_codec() -> None:
    pair = Pair()

    class Wall:
        def encode(self, protocol: int, packet: bytes) -> tuple[int, bytes] | None:
            raise AssertionError(f"0x{protocol:04x}")

        decode = encode

        def reset(self, longest: int) -> None: ...

    pair.put(Wall)
    pair.b.link.down(1.0)
    pair.b.link.up(1.0)
    pair.wire.settle()
    pair.a.terminate("enough", 2.0, 1.0)
    pair.wire.run(10.0)
    assert pair.a.finished and pair.b.finished


def test_a_codec_put_in_in_the_midst_of_a_read_holds_from_the_next_frame_on() -> None:
    pair = Pair()
    taker = pair.a.link._data[0x21]

    def agree(packet: bytes, now: float) -> None:
        pair.a.put_codec(Expander(), Stage.PACKETS)
        pair.a.deliver(0x21, taker)

    pair.a.deliver(0x21, agree)
    frame = pair.b.framer.frame
    pair.a.feed(b"~" + frame(0x21, b"now") + frame(0xFD, b"\x00\x21expandedthen"), 1.0)
    assert pair.got[pair.a] == [(0x21, b"then")]


def test_packets_that_a_codec_shrinks_do_not_stay_behind() -> None:
    """The writer is told that more waits, however few octets it got."""
    rig = Rig()
    rig.end.put_codec(Shrinker(), Stage.PACKETS)
    rig.port.knows = False
    for _ in range(80):
        assert rig.line.send(bytes(1400), "flow")
    rig.finish(NOW)
    assert not rig.line.queued and len(Deframer().feed(rig.port.written)) == 80


# Taps


def test_a_tap_may_do_harm_and_the_link_comes_up_all_the_same() -> None:
    faults = Faults(Random(4), rate=0.3)
    a = End(LinkConfig(), Ipcp.server(GATEWAY, lender_of(lambda wanted: GUEST), [DNS]), 1, taps=(faults,))
    b = client()
    wire = Wire(a, b)
    wire.up()
    wire.run(200.0)
    assert a.link.phase is Phase.NETWORK and b.ipcp is not None and b.ipcp.opened
    assert min(faults.count[what] for what in ("dropped in", "dropped out", "damaged")) > 0
    assert b.counters["hdlc.fcs"]


def test_taps_see_what_is_on_the_line_not_what_the_codecs_were_given() -> None:
    pair = Pair()
    pair.put(Expander)
    pair.a.sent.clear()
    pair.send(pair.a, b"packet")
    assert pair.a.sent == [(0x00FD, b"\x00\x21expandedpacket")]


# Goodbyes


def hear(rig: Rig, now: float) -> None:
    """What the end has written reaches the peer, and what the peer has to say, the end."""
    rig.finish(now)
    rig.peer.feed(rig.port.written, now)
    rig.port.written, rig.port.held = b"", 0
    rig.port.incoming = [rig.peer.take()]
    rig.watcher.readers[7](now)
    rig.finish(now)


def test_the_port_is_let_go_soon_after_the_peer_has_agreed() -> None:
    rig = Rig()
    rig.end.terminate("enough", NOW, 10.0)
    hear(rig, NOW)
    assert not rig.ended and rig.deadlines.next() == NOW + LAST_WORD
    rig.deadlines.expire(NOW + LAST_WORD)
    assert rig.ended == ["closed here"] and rig.port.closed


def test_the_port_is_let_go_when_the_peer_does_not_answer_in_time() -> None:
    rig = Rig()
    rig.end.terminate("enough", NOW, 1.0)
    rig.finish(NOW)
    assert rig.deadlines.next() == NOW + 1.0
    rig.deadlines.expire(NOW + 1.0)
    assert rig.ended == ["closed here"] and rig.deadlines.next() == math.inf


def test_leaving_a_link_that_is_over_takes_no_longer_than_the_last_word() -> None:
    rig = Rig()
    rig.end.link.down(NOW)
    rig.end.leave(NOW, 10.0)
    rig.deadlines.expire(NOW + LAST_WORD)
    assert rig.ended == ["closed here"]
