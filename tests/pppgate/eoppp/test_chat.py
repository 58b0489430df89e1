"""pppgate.eoppp.chat: scripts as chat(8) has them, and what is wrong with them said by file and line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pppgate.eoppp.chat import (
    ABORTS_MOST,
    DELAY,
    FILE_MOST,
    PAUSE,
    Abort,
    ChatError,
    Expect,
    Say,
    Sending,
    Timeout,
    load,
    parse,
)


def sent(*parts: bytes | float, secret: bool = False) -> Sending:
    return Sending(parts, secret)


def test_the_script_of_a_modem() -> None:
    script = """
    # a comment
    ABORT BUSY ABORT "NO CARRIER"     # another
    TIMEOUT 30 SAY "Dialing the provider."
    "" ATZ
    OK 'ATDT 5551234'
    CONNECT \\d\\c
    ogin:--ogin: guest
    word: \\qsesame
    """
    assert parse(script) == (
        Abort(b"BUSY"),
        Abort(b"NO CARRIER"),
        Timeout(30.0),
        Say("Dialing the provider."),
        Expect(b""),
        sent(b"ATZ\r"),
        Expect(b"OK"),
        sent(b"ATDT 5551234\r"),
        Expect(b"CONNECT"),
        sent(DELAY),
        Expect(b"ogin:", ((sent(b"\r"), b"ogin:"),)),
        sent(b"guest\r"),
        Expect(b"word:"),
        sent(b"sesame\r", secret=True),
    )


@pytest.mark.parametrize(
    ("word", "octets"),
    [
        (r"\b\n\r\s\t\N", b"\x08\n\r \t\0"),
        (r"\\\-\"", b'\\-"'),
        (r"\0\12\101\3779", b"\0\nA\xff9"),
        (r"^C^[^@a^", b"\x03\x1b\x00a^"),
        ("caf\xe9", b"caf\xe9"),
        ("a\\ b", b"a b"),
    ],
)
def test_escapes_of_both_kinds_of_word(word: str, octets: bytes) -> None:
    assert parse(f"{word} {word}") == (Expect(octets), sent(octets + b"\r"))


def test_what_is_sent_can_wait_and_can_do_without_a_carriage_return() -> None:
    assert parse(r"a AT\d\pDT\p") == (Expect(b"a"), sent(b"AT", DELAY, PAUSE, b"DT", PAUSE, b"\r"))
    assert parse(r"a +++\c") == (Expect(b"a"), sent(b"+++"))
    assert parse(r"a \c") == (Expect(b"a"), sent())
    assert parse('a ""') == (Expect(b"a"), sent(b"\r"))
    assert parse("a EOT b 'EOT'") == (Expect(b"a"), sent(b"\x04"), Expect(b"b"), sent(b"EOT\r"))
    assert parse("a b\\") == (Expect(b"a"), sent(b"b\\\r"))
    assert parse("a a-b") == (Expect(b"a"), sent(b"a-b\r"))


def test_an_expect_that_tries_again() -> None:
    (expect,) = parse(r"in:-\d\c-in:-+\-+-ord\-:")
    assert expect == Expect(b"in:", ((sent(DELAY), b"in:"), (sent(b"+-+\r"), b"ord-:")))


def test_quotes_keep_blanks_comments_and_directives() -> None:
    assert parse("""'a #b' "c 'd'" "ABORT" 'TIMEOUT'""") == (
        Expect(b"a #b"),
        sent(b"c 'd'\r"),
        Expect(b"ABORT"),
        sent(b"TIMEOUT\r"),
    )
    assert parse(r"'it\'s' x#y") == (Expect(b"it's"), sent(b"x#y\r"))


def test_directives_are_looked_for_only_where_something_is_expected() -> None:
    assert parse("a TIMEOUT b SAY") == (Expect(b"a"), sent(b"TIMEOUT\r"), Expect(b"b"), sent(b"SAY\r"))


def test_an_abort_string_can_be_taken_back() -> None:
    assert parse("ABORT BUSY CLR_ABORT BUSY a b")[:2] == (Abort(b"BUSY"), Abort(b"BUSY", clear=True))


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("a b\n'c", "line 2: a quote is not closed"),
        ("a b ABORT", "line 1: ABORT needs something after it"),
        ("ABORT '' a b", "ABORT needs a string that is not empty"),
        ("\n\nTIMEOUT x a b", "line 3: TIMEOUT needs a number of seconds from 1 to 3600, not 'x'"),
        ("TIMEOUT 0 a b", "not '0'"),
        ("TIMEOUT 99999 a b", "not '99999'"),
        ("TIMEOUT \xb2 a b", "TIMEOUT needs"),
        ("REPORT CONNECT a b", "REPORT is not known here"),
        ("a BREAK", "a break cannot be sent"),
        (r"a x\ky", "a break, cannot be sent"),
        (r"a\d b", r"\d has a meaning only in what is sent"),
        (r"a b\400", r"\400 is no octet"),
        ("a-b c", "'a-b' ends with what to send"),
        ("# nothing\n", "nothing is expected and nothing is sent"),
        ("ABORT BUSY", "nothing is expected and nothing is sent"),
        (" ".join(f"ABORT x{n}" for n in range(ABORTS_MOST + 1)), "more than 50 abort strings"),
    ],
)
def test_mistakes_are_one_sentence_that_names_file_and_line(script: str, says: str) -> None:
    with pytest.raises(ChatError) as caught:
        parse(script, "isp.chat")
    sentence = str(caught.value)
    assert says in sentence and sentence.startswith("isp.chat") and sentence.endswith(".") and "\n" not in sentence


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "isp.chat"
    path.write_bytes(b"\xe9 \xff\r\n")
    assert load(str(path)) == (Expect(b"\xe9"), sent(b"\xff\r"))
    with pytest.raises(ChatError, match="nothere cannot be read: No such file"):
        load(str(tmp_path / "nothere"))
    path.write_bytes(b"a" * (FILE_MOST + 1))
    with pytest.raises(ChatError, match="longer than"):
        load(str(path))


words = st.text(st.characters(max_codepoint=255, blacklist_characters="\n"), max_size=8)


@given(st.text(st.one_of(st.sampled_from("abAB \t\n\"'\\-#^dpqc07"), st.characters(max_codepoint=255)), max_size=60))
def test_any_text_is_a_script_or_a_mistake_that_can_be_said(text: str) -> None:
    try:
        steps = parse(text, "f")
    except ChatError as error:
        assert str(error).startswith("f")
    else:
        assert any(isinstance(step, Expect | Sending) for step in steps)


@given(st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=9))
def test_any_octets_can_be_spelled(values: list[bytes]) -> None:
    """Octal escapes carry everything, in expects and sends alike."""
    script = " ".join("".join(f"\\{octet:03o}" for octet in value) for value in values)
    found = []
    for step in parse(script):
        if isinstance(step, Expect):
            found.append(step.word)
        else:
            assert isinstance(step, Sending)
            part = step.parts[0]
            assert isinstance(part, bytes)
            found.append(part[:-1])
    assert found == values
