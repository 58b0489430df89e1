"""pppgate.notices: what a guest makes the gateway say stays readable."""

from pppgate.notices import BURST, REMEMBERED_MOST, REPEAT_AFTER, Notices


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def make() -> tuple[Notices, list[str], Clock]:
    said: list[str] = []
    clock = Clock()
    return Notices(said.append, clock), said, clock


def test_the_same_sentence_is_said_once_in_a_while() -> None:
    notices, said, clock = make()
    for _ in range(100):
        notices("Denied.")
    assert said == ["Denied."]
    clock.now += REPEAT_AFTER
    notices("Denied.")
    assert said == ["Denied.", "Denied."]


def test_a_flood_of_different_sentences_is_cut_and_counted() -> None:
    notices, said, clock = make()
    for number in range(1000):
        notices(f"Denied {number}.")
    assert len(said) == BURST
    clock.now += 1
    notices("Another.")
    assert said[-2:] == [f"(and {1000 - BURST} more notices in a short time)", "Another."]


def test_what_is_remembered_is_bounded() -> None:
    notices, _, clock = make()
    for number in range(REMEMBERED_MOST * 3):
        clock.now += 1
        notices(str(number))
    assert len(notices._said) == REMEMBERED_MOST
