"""The secrets file and what it lets in."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcp.auth.secrets import Anyone, Entry, Identity, Secrets, SecretsError, chap_md5, parse_entries
from lcp.protocol import CHAP_MD5, PAP

FILE = """
# client  server  secret  addresses
alice     *       wonder
"bob b"   pppgate "a # b"    10.0.2.20 10.0.2.21   # the guest room
carol     other   secret
'd\\'ave'  *      back\\ slash  *
"""


def verdict(check: Callable[..., None], *shown: object) -> Identity | str:
    """What a check answers, at once."""
    answers: list[Identity | str] = []
    check(*shown, answers.append)
    (answer,) = answers
    return answer


def test_a_file_in_the_style_of_pap_secrets() -> None:
    assert parse_entries(FILE) == [
        Entry(b"alice", b"*", b"wonder"),
        Entry(b"bob b", b"pppgate", b"a # b", (b"\x0a\x00\x02\x14", b"\x0a\x00\x02\x15")),
        Entry(b"carol", b"other", b"secret"),
        Entry(b"d'ave", b"*", b"back slash"),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("alice *", "line 2: expected 'client server secret"),
        ("alice * 'wonder", "line 2: a quote is not closed"),
        ("alice * wonder 10.0.2", "line 2: '10.0.2' is not a list of IPv4 addresses"),
        ("alice * " + "x" * 5000, "line 2: longer than 4096 characters"),
    ],
)
def test_a_wrong_line_is_named(line: str, words: str) -> None:
    with pytest.raises(SecretsError, match="secrets, ") as error:
        parse_entries("# fine\n" + line)
    assert words in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SecretsError, match="No such file"):
        Secrets.load(tmp_path / "missing")


def test_load(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text(FILE)
    assert verdict(Secrets.load(tmp_path / "secrets").check_pap, b"alice", b"wonder") == Identity("alice")


def test_who_gets_in() -> None:
    secrets = Secrets(parse_entries(FILE + "* * everybody\n"))
    assert verdict(secrets.check_pap, b"bob b", b"a # b") == Identity(
        "bob b", (b"\x0a\x00\x02\x14", b"\x0a\x00\x02\x15")
    )
    assert verdict(secrets.check_pap, b"alice", b"everybody") == "wrong password"
    assert verdict(secrets.check_pap, b"zoe", b"everybody") == Identity("zoe")
    response = chap_md5(7, b"wonder", b"challenge")
    assert verdict(secrets.check_chap, b"alice", 7, b"challenge", response) == Identity("alice")
    assert verdict(secrets.check_chap, b"alice", 8, b"challenge", response) == "wrong password"


def test_why_not() -> None:
    secrets = Secrets(parse_entries(FILE))
    assert verdict(secrets.check_pap, b"zoe", b"x") == "the name is not in the secrets file"
    assert verdict(secrets.check_pap, b"carol", b"secret") == "its entry is for the server 'other', not 'pppgate'"
    assert verdict(secrets.check_chap, b"carol", 1, b"c", b"") == "its entry is for the server 'other', not 'pppgate'"


def test_an_empty_secret_is_an_empty_password() -> None:
    secrets = Secrets([Entry(b"alice", b"*", b"")])
    assert verdict(secrets.check_pap, b"alice", b"x") == "wrong password"
    assert verdict(secrets.check_pap, b"alice", b"") == Identity("alice")


def test_anyone_and_what_is_asked_for_first() -> None:
    assert verdict(Anyone().check_pap, b"\xff", b"") == Identity("\\xff")
    assert list(Anyone.demand) == [PAP, CHAP_MD5] and list(Secrets.demand) == [CHAP_MD5, PAP]


@given(st.text(max_size=200))
def test_any_text_is_entries_or_one_sentence(content: str) -> None:
    try:
        parse_entries(content)
    except SecretsError as error:
        assert "\n" not in str(error).replace(content, "")


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_name_and_password(name: bytes, password: bytes) -> None:
    secrets = Secrets([Entry(b"alice", b"*", b"wonder")])
    assert verdict(secrets.check_chap, name, 0, b"c", password) != Identity("alice")
    assert (verdict(secrets.check_pap, name, password) == Identity("alice")) == (
        (name, password) == (b"alice", b"wonder")
    )
