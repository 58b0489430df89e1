"""pppgate.eoppp.conversation: scripts against a modem that says what a test wants, when it wants."""

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pppgate.eoppp.chat import ChatError, parse
from pppgate.eoppp.conversation import HEARD_MOST, TIMEOUT, Conversation


class Rig:
    def __init__(self, script: str) -> None:
        self.sent = b""
        self.said: list[str] = []
        self.traced: list[str] = []
        self.ended: list[tuple[str, bytes]] = []
        self.now = 100.0
        self.talk = Conversation(parse(script), self._send, self.said.append, self._done, self.traced.append)
        self.talk.start(self.now)

    def _send(self, data: bytes) -> None:
        self.sent += data

    def _done(self, failure: str, rest: bytes, now: float) -> None:
        self.ended.append((failure, rest))

    def hears(self, data: bytes) -> bytes:
        """What is sent for it, delays not waited for."""
        before, self.sent = self.sent, b""
        self.talk.receive(data, self.now)
        answer, self.sent = self.sent, before + self.sent
        return answer

    def wait(self) -> float:
        """Until the deadline; how long that was."""
        waited = self.talk.deadline - self.now
        self.now = self.talk.deadline
        self.talk.tick(self.now)
        return waited


def test_a_modem_and_a_login() -> None:
    rig = Rig('TIMEOUT 5 SAY Hello "" ATZ OK ATDT1 CONNECT \\d\\c ogin: guest word: \\qsesame')
    assert rig.sent == b"ATZ\r" and rig.said == ["Hello"]
    assert rig.hears(b"ATZ\r\r\nO") == b""
    assert rig.hears(b"K\r\n") == b"ATDT1\r"
    assert rig.hears(b"ATDT1\r\r\nCONNECT 33600\r\n") == b""
    assert rig.wait() == 1.0
    assert rig.hears(b"Login: ") == b"guest\r"
    assert rig.hears(b"Password:") == b"sesame\r"
    assert rig.ended == [("", b"")] and rig.talk.deadline == math.inf
    assert "sesame" not in "".join(rig.traced) and "sent 'ATDT1\\x0d'" not in rig.traced and "got 'OK'" in rig.traced


def test_what_follows_the_last_word_belongs_to_ppp() -> None:
    rig = Rig("CONNECT \\c")
    rig.hears(b"CONNECT\r\n~\xff\x7d\x23")
    assert rig.ended == [("", b"\r\n~\xff\x7d\x23")]
    assert rig.hears(b"more") == b"" and len(rig.ended) == 1


def test_what_was_heard_before_it_began_counts() -> None:
    rig = Rig('"" \\d\\c ogin: guest')
    assert rig.hears(b"login: ") == b""
    rig.wait()
    assert rig.sent == b"guest\r" and rig.ended == [("", b" ")]


def test_an_abort_string_ends_it() -> None:
    rig = Rig('ABORT BUSY ABORT "NO CARRIER" "" ATD1 CONNECT ""')
    rig.hears(b"ATD1\r\r\nNO CARR")
    assert not rig.ended
    rig.hears(b"IER\r\n")
    assert rig.ended == [("the line said 'NO CARRIER'", b"")] and rig.talk.deadline == math.inf


def test_the_word_that_comes_first_wins() -> None:
    rig = Rig("ABORT BUSY CONNECT hi x y")
    rig.hears(b"CONNECT BUSY")
    assert rig.sent == b"hi\r" and rig.ended == [("the line said 'BUSY'", b"")]


def test_an_abort_string_taken_back_is_one_no_more() -> None:
    rig = Rig("ABORT BUSY CLR_ABORT BUSY CONNECT hi")
    assert rig.hears(b"BUSY CONNECT") == b"hi\r"


def test_patience_ends_and_says_what_was_wanted_and_heard() -> None:
    rig = Rig("TIMEOUT 7 OK x")
    rig.hears(b"what\r\n\x1b?")
    assert rig.wait() == 7.0
    assert rig.ended == [("'OK' did not come within 7 s; the line said 'what\\x0d\\x0a\\x1b?'", b"")]
    rig = Rig("OK x")
    assert rig.wait() == TIMEOUT and rig.ended[0][0].endswith("; the line said nothing")


def test_the_time_is_counted_for_each_word() -> None:
    rig = Rig("TIMEOUT 5 a x b y")
    rig.now += 4
    rig.hears(b"a")
    assert rig.talk.deadline == rig.now + 5


def test_an_expect_that_tries_again_tries_until_its_last() -> None:
    rig = Rig("TIMEOUT 2 ogin:-\\d\\c-ogin:-hello-ogin: guest")
    assert rig.wait() == 2.0 and rig.sent == b""
    assert rig.wait() == 1.0
    assert rig.wait() == 2.0 and rig.sent == b"hello\r"
    assert rig.hears(b"login:") == b"guest\r" and rig.ended
    rig = Rig("TIMEOUT 2 ogin:--ogin: guest")
    rig.wait(), rig.wait()
    assert rig.ended and rig.ended[0][0].startswith("'ogin:' did not come")


def test_a_hang_up_ends_it() -> None:
    rig = Rig("OK x")
    rig.talk.hang_up("/dev/x was closed by the other side", 0.0)
    assert rig.ended[0][0].startswith("/dev/x was closed by the other side while 'OK' was waited for")


def test_a_line_that_never_stops_talking_is_let_go() -> None:
    rig = Rig("OK x")
    for _ in range(HEARD_MOST // 1000 + 1):
        rig.hears(b"z" * 1000)
    assert rig.ended and "without 'OK'" in rig.ended[0][0]


def test_without_pexpect_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pexpect", None)
    with pytest.raises(ChatError, match="pip install"):
        Rig("a b")


@given(st.lists(st.binary(max_size=30), max_size=20), st.integers(1, 6))
def test_however_the_line_is_cut_the_outcome_is_the_same(pieces: list[bytes], size: int) -> None:
    script = "ABORT BUSY ogin: guest word: secret ~ \\c"
    whole = b"".join(pieces) + b"Login: x Password: ~rest"
    outcomes = []
    for cut in (len(whole), size):
        rig = Rig(script)
        for at in range(0, len(whole), cut):
            rig.hears(whole[at : at + cut])
        ended = rig.ended[0] if rig.ended else None
        # pieces after the end are the port's next reader's
        outcomes.append((rig.sent, ended and ended[0]))
    assert outcomes[0] == outcomes[1]
