"""The corpus of hostile inputs through a whole gateway, whole, octet by octet, and split at every octet.

For each case: its counter moves, nothing is raised, nothing longer than the trigger comes back, and a
connection that was open before ends with every octet in its place; afterwards nothing is left open.
"""

import pytest

from lcp.hdlc import Deframer
from tests.support.hostile_inputs import CASES, Case
from tests.support.serial_world import Canary, SerialWorld

pytestmark = pytest.mark.untraced  # they take long, and what they reach has tests of its own


def test_the_corpus_is_large_enough() -> None:
    assert len(CASES) >= 80
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("octet_by_octet", (False, True), ids=("whole", "octets"))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_replay(case: Case, octet_by_octet: bool) -> None:
    world = SerialWorld()
    world.up()
    canary = Canary(world, 6000)
    open_before = len(world.host.open())
    flows_before = len(world.station.tcp.flows)
    replies: list[bytes] = []
    receive = world.end.link.receive

    def listen(frame: bytes, now: float) -> None:
        replies.append(frame)
        receive(frame, now)

    world.end.link.receive = listen  # type: ignore[method-assign]
    frames = case.make(world, canary)
    before = world.count
    for frame in frames:
        for piece in [frame[i : i + 1] for i in range(len(frame))] if octet_by_octet else [frame]:
            world.octets(piece)
            world.settle()
    after = world.count
    assert after[case.counter] - before[case.counter] == case.times, after - before
    assert len(replies) <= case.replies, replies
    longest = max(map(len, frames))
    assert all(len(reply) <= longest + case.longer for reply in replies)
    world.end.link.receive = receive  # type: ignore[method-assign]
    canary.finish()
    world.wait(70)  # TIME-WAIT
    assert world.session.end.link.lcp.opened and world.session.station is not None
    assert len(world.host.open()) <= open_before - 1 and len(world.station.tcp.flows) == flows_before - 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_split_at_any_octet_changes_nothing(case: Case) -> None:
    world = SerialWorld()
    world.up()
    stream = b"".join(case.make(world, Canary(world, 6000)))
    whole = Deframer(accm=0)
    frames = whole.feed(stream)
    step = 1 + len(stream) // 4000
    for at in range(0, len(stream) + 1, step):
        split = Deframer(accm=0)
        assert split.feed(stream[:at]) + split.feed(stream[at:]) == frames
        assert split.count == whole.count
