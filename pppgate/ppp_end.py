"""One end of PPP on one port, whichever role it has: octets of the line become packets, and the other way round.

In: a Port that is open, what is wanted of the link, network protocols, and a nat Line for each that has packets.
Out: octets on the port, packets to whoever takes those of a protocol, events of the link. The packet path:

    in   on_readable -> port.read -> Deframer.feed -> PppLink.receive -> whoever takes the packets (Station.receive)
    out  Line.take -> codecs -> Framer.frame -> LineWriter -> port.write, once for all that a wake-up brought

It knows neither what the link negotiates nor what becomes of a packet. Dirty has the writer's `flush` end every wake-up
in which something is to be sent; `deadline` and `tick` belong to the network's Deadlines.
"""

import math
import random as random_module
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial

from lcp.codec import NETWORK_LAYER_MOST, Codec, CodecChain, Stage
from lcp.config import LinkConfig, LinkParameters
from lcp.control import ControlProtocol
from lcp.events import Event
from lcp.hdlc import Deframer, Framer
from lcp.link import Handler, Phase, PppLink
from lcp.packet import split_protocol
from nat.deadlines import Deadlines
from nat.dirty import Dirty
from nat.line import FLOW_MOST, Line
from pppgate.tap import Frame, Receive, Tap
from serialport.port import HangUp, Port, Watcher
from serialport.writer import LineWriter

READ_MOST = 64 * 1024
"""Octets that one wake-up takes from one port before others get their turn."""
PTY_READ = 4095
"""Octets that a read of a pty brings at the most; a port that brings less has no more for now."""
DRIBBLE = 128
"""Octets: a frame that comes in pieces smaller than this is waited for."""
GATHER = 0.002
"""Seconds in which the rest of such a frame may gather."""
LAST_WORD = 0.05
"""Seconds that the last packet of a link gets to leave the port before this is closed."""
CONTROL_MOST = 64
"""Control frames that may wait for a line that takes nothing."""


class PppEnd:
    """Reads, writes, negotiates and keeps time for one port.

    Attach the network protocols, then `start`. `on_event` hears what the link tells; `on_hang_up(reason, now)` is
    called once, when the port has been let go.
    """

    def __init__(
        self,
        port: Port,
        watcher: Watcher,
        deadlines: Deadlines,
        dirty: Dirty,
        config: LinkConfig,
        *,
        random: random_module.Random,
        name: str,
        on_event: Callable[[Event], None],
        on_hang_up: Callable[[str, float], None],
        taps: Sequence[Tap] = (),
    ) -> None:
        self.port = port
        self.name = name
        self.count: Counter[str] = Counter()
        self.framer = Framer()
        self.deframer = Deframer(config.mru)
        self.link = PppLink(
            config, self._emit, random=random, on_event=on_event, parameters=self._on_parameters, wake=self.arm
        )
        self.writer = LineWriter(port, watcher, self._take, self._writable, self.arm)
        self.mark: Callable[[], None] = partial(dirty.line, self.writer)
        """Something is to be sent when this wake-up ends."""
        self._meter = self.writer.meter
        self.closed = False
        self.deadline = self.queued = math.inf
        self._leave_at = math.inf  # when the port is let go of, finite while the end is saying goodbye
        self._last_word_at = math.inf  # when all had been said
        self._gathering = False  # the port is not watched, but read again soon
        self._watcher = watcher
        self._deadlines = deadlines
        self._on_hang_up = on_hang_up
        self._control: deque[bytes] = deque()  # framed, ahead of all packets
        self._sources: list[tuple[int, Line]] = []  # with the number of the packets, in the order of their turns
        self._codecs = CodecChain(self.count)
        self._coded = False  # there are codecs
        # Frames go straight to the link where neither a tap nor a codec has to see them.
        self._inside: Receive = self.link.receive  # behind the taps
        self._tapped = bool(taps)
        self._receive: Receive = self._receive_inside if taps else self._inside
        self._frame: Frame = self.framer.frame
        for tap in taps:
            self._receive, self._frame = tap.wrap_ppp(name, watcher.now, self._receive, self._frame)

    # What the owner does

    def attach(self, control: ControlProtocol, on_packet: Handler = lambda packet, now: None) -> None:
        """Speak a network protocol: `on_packet(packet, now)` takes its packets, unless `deliver` names another.

        Raises ValueError when one of its numbers is taken."""
        self.link.attach(control, on_packet)

    def start(self, now: float, heard: bytes = b"") -> None:
        """Begin to negotiate at once, and answer whoever begins. `heard`: what the line has said already."""
        self._watcher.watch_read(self.port.read_fd, self.on_readable)
        self.mark()
        self.link.up(now)
        for frame in self.deframer.feed(heard):
            self._receive(frame, now)
        self.arm()

    def deliver(self, data_protocol: int, to: Handler) -> None:
        """From now on `to` takes the packets of this number, without anything in between."""
        self.link.deliver(data_protocol, to)

    def connect(self, data_protocol: int, line: Line) -> None:
        """What waits in `line` goes to the peer from now on, under this number; `mark` when something does."""
        self.disconnect(data_protocol)
        self._sources.append((data_protocol, line))

    def disconnect(self, data_protocol: int) -> None:
        """Nothing of this number is taken any more."""
        self._sources = [source for source in self._sources if source[0] != data_protocol]

    def put_codec(self, codec: Codec, stage: Stage) -> None:
        """A codec has been agreed on: from the next packet on, both ways."""
        self._codecs.add(codec, stage)
        self._bind_inside()

    def take_codec_out(self, codec: Codec) -> None:
        """It holds no longer."""
        self._codecs.remove(codec)
        self._bind_inside()

    def terminate(self, reason: str, now: float, patience: float) -> None:
        """End the link with Terminate-Request, and let go of the port when the peer agrees, or after `patience`
        seconds."""
        self.link.close(now, reason)
        self.leave(now, patience)

    def leave(self, now: float, patience: float) -> None:
        """Let go of the port when nothing more is to be said on it, or after `patience` seconds."""
        self._leave_at = now + patience
        self._last_word_at = math.inf
        self.arm()

    def hang_up(self, reason: str, now: float) -> None:
        """The line is gone, or is let go."""
        if not self.closed:
            self.link.down(now)
            self.closed = True
            self._deadlines.arm(self, math.inf)
            self._watcher.unwatch_read(self.port.read_fd)
            self.writer.close()
            self.port.close()
            self._on_hang_up(reason, now)

    @property
    def finished(self) -> bool:
        """Whether nothing more is to be said on the line."""
        return self.closed or self.link.phase is Phase.DEAD

    @property
    def counters(self) -> Counter[str]:
        """What was dropped, by name, by the framing, the link and the end itself."""
        return self.deframer.count + self.link.count + self.count

    def status(self) -> dict[str, object]:
        """For people and programs: plain data."""
        meter = self._meter
        return {
            "name": self.name,
            "port": self.port.status(),
            "link": self.link.status(),
            "metered": meter.metered,
            "rate": meter.rate,
            "waiting": {f"0x{number:04x}": line.queued for number, line in self._sources},
            "counters": dict(self.deframer.count + self.count),
        }

    # From the line

    def on_readable(self, now: float) -> None:
        """The port has octets, or its end."""
        read, feed = self.port.read, self.deframer.feed
        due = self.link.deadline
        got = 0
        try:
            while got < READ_MOST:
                data = read()
                for frame in feed(data):
                    self._receive(frame, now)  # a frame may change what the next one goes through
                if self.closed:
                    return
                got += len(data)
                if len(data) < PTY_READ:
                    break  # that was all there is
        except HangUp as reason:
            self.hang_up(str(reason), now)
            return
        if self._gathering or (self.port.dribbles and 0 < got < DRIBBLE and self.deframer.unfinished):
            self._gather(now, got > 0 and self.deframer.unfinished)
        if self.link.deadline != due:
            self.arm()

    def _gather(self, now: float, unfinished: bool) -> None:
        """Let the rest of a frame gather before reading on: an emulated UART hands over its 16 octets one by one or
        all at once, ten thousand times a second, and each wake-up would cost more than the octets are worth."""
        if unfinished:
            if not self._gathering:
                self._gathering = True
                self._watcher.unwatch_read(self.port.read_fd)
            self._watcher.call_at(now + GATHER, self._read_gathered)
        else:
            self._gathering = False
            self._watcher.watch_read(self.port.read_fd, self.on_readable)

    def _read_gathered(self, now: float) -> None:
        if not self.closed:
            self.on_readable(now)

    def _receive_inside(self, frame: bytes, now: float) -> None:
        """What taps are given in the place of the link."""
        self._inside(frame, now)

    def _bind_inside(self) -> None:
        self._coded = bool(self._codecs)
        self._inside = self._decode if self._coded else self.link.receive
        if not self._tapped:
            self._receive = self._inside

    def _decode(self, frame: bytes, now: float) -> None:
        protocol, information = split_protocol(frame)
        if protocol > NETWORK_LAYER_MOST or self.link.phase is not Phase.NETWORK:
            self.link.receive(frame, now)
            return
        decoded = self._codecs.decode(protocol, information)
        if decoded is not None:
            self.link.receive(decoded[0].to_bytes(2, "big") + decoded[1], now)

    # Toward the line

    def _emit(self, protocol: int, information: bytes) -> None:
        """A control packet of the link: framed now, under what is agreed now, and sent ahead of all packets."""
        if len(self._control) < CONTROL_MOST:
            self._control.append(self._frame(protocol, information))
            self.mark()
        else:
            self.count["guest.control_full"] += 1

    def _on_parameters(self, agreed: LinkParameters) -> None:
        self.framer.configure(accm=agreed.tx_accm, acfc=agreed.acfc, pfc=agreed.pfc)
        self.deframer.accm = agreed.rx_accm
        self._codecs.reset(agreed.peer_mru)

    def _writable(self) -> None:
        """A port that was full takes octets again."""
        self.mark()

    def _take(self, budget: int) -> tuple[bytes, bool]:
        """Frames for one write, and whether more waits. A flag goes first: it ends whatever noise the line made."""
        frames = [b"~"]
        while self._control and budget > 0:
            frames.append(self._control.popleft())
            budget -= len(frames[-1])
        more = bool(self._control)
        sources = self._sources
        frame, meter = self._frame, self._meter
        for number, line in sources:
            before = len(frames)
            if self._coded and number <= NETWORK_LAYER_MOST:
                frames += self._take_encoded(number, line, budget)
            else:
                for packet in line.take(budget):
                    frames.append(frame(number, packet))
            line.flow_limit = max(4 * line.mtu, 2 * meter.window) if meter.metered else FLOW_MOST
            line.delay = meter.delay
            if line.queued:
                more = True
            if len(sources) > 1:
                budget -= sum(map(len, frames[before:]))
        if len(sources) > 1:
            self._sources = sources[1:] + sources[:1]
        return b"".join(frames) if len(frames) > 1 else b"", more

    def _take_encoded(self, number: int, line: Line, budget: int) -> list[bytes]:
        """The same through the codecs: more packets are taken in the place of what these made smaller or dropped."""
        frames: list[bytes] = []
        while budget > 0 and (packets := line.take(budget)):
            for packet in packets:
                encoded = self._codecs.encode(number, packet)
                if encoded is not None:
                    frames.append(self._frame(*encoded))
                    budget -= len(frames[-1])
        return frames

    # Time

    def arm(self) -> None:
        """Have `tick` called when the link or the writer wants it."""
        when, meter = self.link.deadline, self._meter
        if self._leave_at < math.inf:
            when = min(when, self._when_to_leave())
        if meter.recheck < when:
            when = meter.recheck
        if when != self.deadline and not self.closed:
            self._deadlines.arm(self, when)

    def _when_to_leave(self) -> float:
        """The last word, a Terminate-Ack of ours perhaps, gets time to leave the port."""
        if self._last_word_at == math.inf and self.link.phase is Phase.DEAD:
            self._last_word_at = self._watcher.now()
        return min(self._leave_at, self._last_word_at + LAST_WORD)

    def tick(self, now: float) -> None:
        if self._leave_at < math.inf and self._when_to_leave() <= now:
            self.hang_up("closed here", now)
            return
        if self.link.deadline <= now:
            self.link.tick(now)
        if self.writer.deadline <= now:
            self.mark()  # and the writer's `flush` arms
        else:
            self.arm()
