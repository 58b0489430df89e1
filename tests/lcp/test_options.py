"""The option walker, in both directions, on octets of every kind."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcp.options import ACK, NAKS_TAKEN_MOST, REJECT, Answer, Negotiator, Option, Verdict, nak, spell, walk
from lcp.packet import Code
from lcp.protocol import AsyncControlCharacterMap, MaximumReceiveUnit, ProtocolFieldCompression

ROOM = 1496


class Number(Option):
    """Wants 7, takes only 7, must be there."""

    type, name, length = 50, "number", 1

    def __init__(self) -> None:
        self.wanted: bytes | None = b"\x07"
        self.accepted: list[bytes | None] = []

    def request(self) -> bytes | None:
        return self.wanted

    def nak(self, value: bytes) -> None:
        self.wanted = value

    def reject(self) -> None:
        self.wanted = None

    def judge(self, value: bytes) -> Verdict:
        return ACK if value == b"\x07" else nak(b"\x07")

    def missing(self) -> bytes:
        return b"\x07"

    def accept(self, value: bytes | None) -> None:
        self.accepted.append(value)


class Flagged(ProtocolFieldCompression):
    type, name = 51, "flagged"

    def judge(self, value: bytes) -> Verdict:
        return REJECT


def negotiator(*options: Option, max_failure: int = 5) -> Negotiator:
    return Negotiator(options or [Number(), MaximumReceiveUnit(296), Flagged()], max_failure)


def judged(side: Negotiator, data: bytes, room: int = ROOM) -> Answer:
    answer = side.judge(data, room)
    assert answer is not None
    return answer


GOOD, BAD = b"\x32\x03\x07", b"\x32\x03\x08"
UNKNOWN = b"\x63\x04ab"


@pytest.mark.parametrize("data", [b"\x01", b"\x01\x00", b"\x01\x01", b"\x01\x05ab", b"\x07\x02\x01\x05\x00"])
def test_ppp_8d7970b_an_option_of_length_0_1_or_past_the_end_discards_the_packet(data: bytes) -> None:
    assert walk(data) is None
    assert negotiator().judge(data, ROOM) is None
    assert not negotiator().take_nak(data) and not negotiator().take_reject(data, GOOD)


def test_good_request_is_acked_unchanged() -> None:
    answer = judged(negotiator(), GOOD + b"\x01\x04\x05\xdc")
    assert (answer.code, answer.data) == (Code.CONFIGURE_ACK, GOOD + b"\x01\x04\x05\xdc")


def test_unknown_and_bad_together_reject_only_in_order_and_unchanged() -> None:
    data = UNKNOWN + BAD + b"\x33\x02" + b"\x64\x02"
    answer = judged(negotiator(), data)
    assert (answer.code, answer.data) == (Code.CONFIGURE_REJECT, UNKNOWN + b"\x33\x02\x64\x02")


def test_bad_is_naked_with_what_would_do() -> None:
    answer = judged(negotiator(), b"\x01\x04\x00\x01" + BAD)
    assert (answer.code, answer.data) == (Code.CONFIGURE_NAK, b"\x01\x04\x00\x44" + GOOD)


def test_missing_is_appended_to_a_nak() -> None:
    answer = judged(negotiator(), b"")
    assert (answer.code, answer.data) == (Code.CONFIGURE_NAK, GOOD)


def test_bad_length_inside_is_naked_with_the_right_length() -> None:
    answer = judged(negotiator(), b"\x01\x03\x05" + GOOD)
    assert (answer.code, answer.data) == (Code.CONFIGURE_NAK, b"\x01\x04\x00\x44")


def test_boolean_of_wrong_length_is_rejected_never_naked() -> None:
    answer = judged(Negotiator([ProtocolFieldCompression()]), b"\x07\x03\x00")
    assert (answer.code, answer.data) == (Code.CONFIGURE_REJECT, b"\x07\x03\x00")


def test_an_option_listed_twice_is_rejected_the_second_time() -> None:
    answer = judged(negotiator(), GOOD + GOOD)
    assert (answer.code, answer.data) == (Code.CONFIGURE_REJECT, GOOD)


def test_nak_forever_after_max_failure_naks_become_rejects_and_nothing_is_appended() -> None:
    side = negotiator()
    for _ in range(5):
        answer = judged(side, BAD)
        assert answer.code == Code.CONFIGURE_NAK
        side.sent(answer)
    answer = judged(side, BAD)
    assert (answer.code, answer.data) == (Code.CONFIGURE_REJECT, BAD)
    assert judged(side, b"").code == Code.CONFIGURE_ACK


def test_an_ack_and_a_new_negotiation_forget_the_naks() -> None:
    ways: list[Callable[[Negotiator], None]] = [lambda side: side.sent(judged(side, GOOD)), Negotiator.restart]
    for forget in ways:
        side = negotiator(max_failure=1)
        side.sent(judged(side, BAD))
        assert judged(side, BAD).code == Code.CONFIGURE_REJECT
        forget(side)
        assert judged(side, BAD).code == Code.CONFIGURE_NAK


def test_judging_alone_changes_nothing() -> None:
    number = Number()
    side = negotiator(number)
    answer = judged(side, GOOD)
    assert number.accepted == []
    side.sent(answer)
    assert number.accepted == [b"\x07"]


def test_pppd_c82ddc5_answers_fit_the_room() -> None:
    many = b"".join(bytes((kind, 4)) + b"xy" for kind in range(60, 256))
    answer = judged(negotiator(), many, 59)
    assert answer.code == Code.CONFIGURE_REJECT and len(answer.data) <= 59
    assert many.startswith(answer.data) and answer.data
    assert negotiator().judge(GOOD, 2) is None


def test_reject_must_be_a_part_of_the_request_in_order() -> None:
    requested = negotiator().request()
    assert requested == GOOD + b"\x01\x04\x01\x28" + b"\x33\x02"
    for data in (b"", UNKNOWN, BAD, b"\x33\x02" + GOOD, GOOD + GOOD):
        assert not negotiator().take_reject(data, requested), data
    side = negotiator()
    assert side.take_reject(GOOD + b"\x33\x02", requested)
    assert side.request() == b"\x01\x04\x01\x28"


def test_nak_is_obeyed() -> None:
    side = negotiator()
    assert side.take_nak(b"\x32\x03\x09" + UNKNOWN)
    assert side.request().startswith(b"\x32\x03\x09")


@pytest.mark.parametrize("data", [b"", UNKNOWN])
def test_a_nak_that_names_nothing_known_is_dropped(data: bytes) -> None:
    assert not negotiator().take_nak(data)


def test_a_peer_that_naks_for_ever_is_obeyed_no_more() -> None:
    side = negotiator(AsyncControlCharacterMap(0))
    taken = 0
    while side.take_nak(b"\x02\x06\x00\x00\x00\x01"):
        taken += 1
        assert taken < 100
    assert taken >= NAKS_TAKEN_MOST and side.request() == b""


@given(st.binary(max_size=300), st.integers(0, 1496))
def test_any_octets_get_a_lawful_answer(data: bytes, room: int) -> None:
    side = negotiator()
    answer = side.judge(data, room)
    options = walk(data)
    if options is None:
        assert answer is None
        return
    assert spell(options) == data
    if answer is None:
        assert len(data) > room
        return
    side.sent(answer)
    assert len(answer.data) <= room
    if answer.code == Code.CONFIGURE_ACK:
        assert answer.data == data
    elif answer.code == Code.CONFIGURE_REJECT:
        rest = iter(options)
        rejected = walk(answer.data)
        assert rejected is not None and all(option in rest for option in rejected)


@given(st.lists(st.tuples(st.sampled_from(["nak", "reject"]), st.binary(max_size=40)), max_size=20))
def test_any_answers_leave_a_request_that_can_be_sent(answers: list[tuple[str, bytes]]) -> None:
    side = negotiator()
    for how, data in answers:
        if how == "nak":
            side.take_nak(data)
        else:
            side.take_reject(data, side.request())
        assert walk(side.request()) is not None
