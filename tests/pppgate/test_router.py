"""Router: sessions that come and go under the keys that the pool knows, the end, and a network without an uplink."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from nat.deadlines import Deadlines
from nat.dirty import Dirty
from nat.rules import Action, Direction, Question
from nat.wire.ipv4 import TCP
from pppgate.config import build_network
from pppgate.router import Router
from pppgate.settings import ConfigError
from pppgate.surroundings import Surroundings
from serialport.port import HangUp, port_status
from tests.support.dial_world import Clock

GUEST, OTHER, OUTSIDE = (bytes((10, 0, 2, 15)), bytes((10, 0, 2, 16)), bytes((9, 9, 9, 9)))


class Port:
    hides_queue = dribbles = False
    kind = "fake"

    def __init__(self, number: int) -> None:
        self.name = f"port {number}"
        self.read_fd = self.write_fd = 1000 + number
        self.gone = False

    def read(self) -> bytes:
        if self.gone:
            raise HangUp("the guest has gone")
        return b""

    def write(self, data: bytes) -> int:
        return len(data)

    def pending(self) -> int:
        return 0

    def status(self) -> dict[str, object]:
        return port_status(self)

    def close(self) -> None: ...


class World:
    def __init__(self, **settings: object) -> None:
        self.clock, self.deadlines, self.dirty = Clock(), Deadlines(), Dirty()
        self.said: list[str] = []
        self.ends: list[int] = []
        say: Callable[[str], None] = self.said.append
        around = Surroundings(self.clock, self.deadlines, self.dirty, Random(1), say, say, say)
        self.router = Router(build_network(settings), around, self.ends.append)
        self.ports: list[Port] = []

    def dial_in(self, url: str = "tcp-listen:1") -> Port:
        port = Port(len(self.ports))
        self.ports.append(port)
        self.router.dial_in(port, url)
        return port

    def hang_up(self, port: Port) -> None:
        port.gone = True
        self.clock.readers[port.read_fd](self.clock.time)

    @property
    def keys(self) -> list[str]:
        return [session.key for session in self.router.sessions]


def test_the_first_free_number_behind_a_link_is_a_guests_key() -> None:
    world = World()
    ports = [world.dial_in() for _ in range(4)]
    assert world.keys == [f"tcp-listen:1#{n}" for n in range(4)]
    world.hang_up(ports[2])
    world.hang_up(ports[1])
    world.dial_in()
    assert world.keys[-1] == "tcp-listen:1#1"
    world.dial_in()
    world.dial_in()
    assert world.keys[-2:] == ["tcp-listen:1#2", "tcp-listen:1#4"]
    world.dial_in("pty:#odd#name")
    assert world.keys[-1] == "pty:#odd#name#0"
    world.router.close(world.clock.time)
    assert not world.keys


def test_without_guests_the_end_is_at_once() -> None:
    world = World()
    world.router.end(0.0)
    assert world.ends == [0]


def test_the_end_comes_with_the_last_session_or_when_patience_ends() -> None:
    world = World()
    ports = [world.dial_in(), world.dial_in()]
    world.router.end(world.clock.time)
    world.hang_up(ports[0])
    assert world.ends == [] and len(world.keys) == 1
    world.deadlines.expire(world.clock.time + 1.0)
    assert world.ends == [0] and not world.keys


def test_a_network_without_an_uplink_lets_its_guests_reach_each_other_and_nothing_else() -> None:
    rules = World(uplink="none").router.gateway.context.rules
    out = rules.decide(Question(GUEST, "default", Direction.OUT, TCP, OUTSIDE, 80))
    assert (out.action, out.counter) == (Action.REFUSE, "policy.no_uplink") and "no uplink" in out.words
    across = rules.decide(Question(GUEST, "default", Direction.ACROSS, TCP, OTHER, 80))
    assert across.action is Action.ALLOW


def test_a_file_of_secrets_with_a_mistake_is_one_sentence(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text("only-a-name\n")
    with pytest.raises(ConfigError, match=r"^auth: .*\.$"):
        World(auth=str(secrets))
