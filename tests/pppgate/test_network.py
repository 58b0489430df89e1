"""Network and Server: links that come and go, an uplink that ends, and several networks that end together."""

import io
import json
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nat.deadlines import Deadlines
from nat.dirty import Dirty
from pppgate.config import build, load
from pppgate.ether.segment import Segment
from pppgate.links import Links
from pppgate.loop import Loop
from pppgate.network import Network
from pppgate.say import Say
from pppgate.server import Server, open_network_links
from pppgate.settings import ConfigError
from pppgate.surroundings import Surroundings
from serialport.port import LinkBase, Port, Watcher


class FakeLink(LinkBase):
    def __init__(self, url: str) -> None:
        super().__init__(url, "fake")
        self.on_port: Callable[[Port], None] | None = None
        self.stopped = False

    def start(self, watcher: Watcher, on_port: Callable[[Port], None]) -> None:
        self.on_port = on_port

    def stop(self) -> None:
        self.stopped = True


class FakePort:
    name = "port"
    closed = False

    def close(self) -> None:
        self.closed = True


class FakeUplink:
    """Remembers what it was told."""

    def __init__(self, on_end: Callable[[int], None]) -> None:
        self.on_end = on_end
        self.told: list[str] = []
        self.count: Counter[str] = Counter(x=1)

    @property
    def segment(self) -> Segment:
        raise AssertionError("no cable was plugged in")

    def dial_in(self, port: Port, url: str) -> None:
        self.told.append(f"{url} {port.name}")

    def start(self, now: float) -> None:
        self.told.append("start")

    def end(self, now: float) -> None:
        self.told.append("end")

    def close(self, now: float) -> None:
        self.told.append("close")

    def status(self, now: float) -> dict[str, Any]:
        return {"uplink": "fake"}


class World:
    def __init__(self, around: Surroundings) -> None:
        self.links = [FakeLink("a:"), FakeLink("b:")]
        self.over: list[int] = []
        self.network = Network(
            "lab", Links(list(self.links)), FakeUplink, around, lambda _n, status: self.over.append(status)
        )
        self.uplink: FakeUplink = self.network.uplink  # type: ignore[assignment]
        self.network.start()

    def call(self, link: int) -> FakePort:
        port, on_port = FakePort(), self.links[link].on_port
        assert on_port is not None
        on_port(port)  # type: ignore[arg-type]
        return port


@pytest.fixture
def world() -> World:
    from tests.support.dial_world import Clock

    around = Surroundings(Clock(), Deadlines(), Dirty(), Random(1), print, print, print)
    return World(around)


def test_a_guest_is_handed_to_the_uplink_with_the_name_of_its_link(world: World) -> None:
    port = world.call(1)
    assert world.uplink.told == ["start", "b: port"] and not port.closed


def test_a_network_without_links_ends_and_takes_nobody_any_more(world: World) -> None:
    world.links[0].ended()
    assert "end" not in world.uplink.told
    world.links[1].ended()
    assert world.uplink.told[-1] == "end" and world.over == []
    assert world.call(0).closed
    world.uplink.on_end(0)
    assert world.over == [0]


def test_an_uplink_that_ends_by_itself_is_told_once_with_its_status(world: World) -> None:
    world.uplink.on_end(1)
    world.uplink.on_end(0)
    assert world.over == [1] and world.call(0).closed


def test_status_and_counters(world: World) -> None:
    world.links[0].count["link.x"] += 2
    assert world.network.count == {"x": 1, "link.x": 2}
    status = world.network.status(5.0)
    assert json.loads(json.dumps(status)) == status
    assert status["name"] == "lab" and status["uplink"] == "fake" and len(status["links"]) == 2


def test_closing_stops_the_links_and_the_uplink(world: World) -> None:
    world.network.close(5.0)
    assert world.uplink.told[-1] == "close" and all(link.stopped for link in world.links)


# The server


def serve(path: Path, text: str) -> tuple[Server, Loop]:
    config_path = path / "c.toml"
    config_path.write_text(text)
    config = build(load(str(config_path)))
    loop = Loop()
    try:
        links = {network.name: open_network_links(network) for network in config.networks}
        return Server(config, links, loop, Say(stream=io.StringIO())), loop
    except Exception:
        loop.close()
        raise


def test_networks_of_one_server_have_a_status_and_end_together(tmp_path: Path) -> None:
    text = "\n".join(f'[network.{n}]\nlinks = ["unix-listen:{tmp_path}/{n}"]\nnet = "10.{n}.0.0/24"' for n in (1, 2))
    server, loop = serve(tmp_path, text)
    try:
        server.start()
        status = server.status()
        assert json.loads(json.dumps(status)) == status
        assert [each["net"] for each in status["networks"]] == ["10.1.0.0/24", "10.2.0.0/24"]
        with socket.socket(socket.AF_UNIX) as guest:
            guest.connect(f"{tmp_path}/1")
            loop.turn(0.05)
            status = server.status()
            assert json.loads(json.dumps(status)) == status
            assert [len(each["sessions"]) for each in status["networks"]] == [1, 0]
            (session,) = status["networks"][0]["sessions"]
            assert session["name"] == f"{tmp_path}/1#1" and session["end"]["link"]["phase"] == "establish"
            assert loop.run(server.end, server.end) == 0
    finally:
        server.close()
        loop.close()
    assert not (tmp_path / "1").exists()


def test_a_network_that_cannot_be_made_leaves_nothing_of_the_others(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = f'[network.a]\nlinks = ["unix-listen:{tmp_path}/a"]\nnet = "10.1.0.0/24"\n'
        text += f'[network.b]\nlinks = ["unix-listen:{tmp_path}/b"]\nforward = ["tcp:{port}=1"]'
        with pytest.raises(ConfigError, match="is in use by another program"):
            serve(tmp_path, text)


def test_a_network_behind_a_call_has_cables_only(tmp_path: Path) -> None:
    text = '[network.isp]\nuplink = "ppp"\nlinks = ["pty:"]\nppp = "pty:"'
    with pytest.raises(
        ConfigError, match="^network isp: links names a cable, as in .*; the serial line goes after ppp.$"
    ):
        serve(tmp_path, text)
