"""One line of words for a packet of a control protocol, as readable as pppd's debug output.

In: protocol number and information, as `PppLink` emits or receives them, and the vocabularies of protocols
beyond LCP, PAP and CHAP. Out: a line such as `LCP Configure-Request id 1 <mru 296> <magic 0x1a2b3c4d>`.
Whatever octets are given, a line comes out, printable and bounded; passwords do not come out.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from lcp.auth.chap import ChapCode
from lcp.auth.pap import PapCode
from lcp.auth.side import counted
from lcp.options import Option, walk
from lcp.packet import CODE_NAMES, Code, Protocol, name_of, parse, printable, protocol_name, split_protocol
from lcp.protocol import DESCRIBED


class Words(NamedTuple):
    """What a control protocol is called, and the words for its options."""

    name: str
    options: Mapping[int, type[Option]]


WORDS: Mapping[int, Words] = {Protocol.LCP: Words("LCP", DESCRIBED)}
"""Protocols with options whose vocabulary is known here; a caller adds those of its network protocols."""

_PAP_NAMES: dict[int, str] = {code: code.name.title().replace("_", "-") for code in PapCode}
_CHAP_NAMES: dict[int, str] = {code: code.name.title() for code in ChapCode}
_SHOWN = 16  # octets of what is only shown in hex


def describe(protocol: int, information: bytes, words: Mapping[int, Words] = WORDS) -> str:
    """'LCP Echo-Request id 3 magic 0x12345678'. `words` maps control protocols to their vocabulary."""
    name = words[protocol].name if protocol in words else protocol_name(protocol)
    if protocol < 0x8000:  # not a control protocol: user data
        return f"{name} packet, {len(information)} octets"
    packet = parse(information)
    if packet is None:
        if protocol == Protocol.PAP:  # a password may be in it
            return f"{name} malformed, {len(information)} octets"
        return f"{name} malformed: {_hex(information)}"
    code, identifier, data = packet
    if protocol == Protocol.PAP:
        return f"{name} {name_of(_PAP_NAMES, code)} id {identifier}{_pap(code, data)}"
    if protocol == Protocol.CHAP:
        return f"{name} {name_of(_CHAP_NAMES, code)} id {identifier}{_chap(code, data)}"
    details = _DETAILS.get(code)
    if Code.CONFIGURE_REQUEST <= code <= Code.CONFIGURE_REJECT:
        rest = _options(data, words[protocol].options if protocol in words else {})
    elif details is not None:
        rest = details(data)
    else:
        rest = _hex(data)
    return f"{name} {name_of(CODE_NAMES, code)} id {identifier} {rest}".rstrip()


def describe_frame(frame: bytes, words: Mapping[int, Words] = WORDS) -> str:
    """The same for a frame as a Deframer gives it."""
    return describe(*split_protocol(frame), words)


def _hex(data: bytes) -> str:
    return data[:_SHOWN].hex() + ("..." if len(data) > _SHOWN else "")


def _options(data: bytes, known: Mapping[int, type[Option]]) -> str:
    options = walk(data)
    if options is None:
        return f"malformed options {_hex(data)}"
    return " ".join(f"<{_option(kind, value, known)}>" for kind, value in options)


def _option(kind: int, value: bytes, known: Mapping[int, type[Option]]) -> str:
    option = known.get(kind)
    if option is None:
        return f"option {kind} {_hex(value)}".rstrip()
    return option.describe(value) if len(value) <= _SHOWN else f"{option.name} {_hex(value)}"


def _pap(code: int, data: bytes) -> str:
    first = counted(data)
    if first is None:
        return ""
    if code == PapCode.AUTHENTICATE_REQUEST:
        return f' user="{printable(first[0])}" password=<hidden>'
    return f' "{printable(first[0])}"' if first[0] else ""


def _chap(code: int, data: bytes) -> str:
    if code in (ChapCode.CHALLENGE, ChapCode.RESPONSE):
        value = counted(data)
        return f' <{value[0].hex()}> name="{printable(value[1])}"' if value else ""
    return f' "{printable(data)}"' if data else ""


def _magic(data: bytes) -> str:
    return f"magic 0x{data[:4].hex()}" + (f" {_hex(data[4:])}" if len(data) > 4 else "")


def _identification(data: bytes) -> str:
    return f'magic 0x{data[:4].hex()} "{printable(data[4:])}"'


def _reason(data: bytes) -> str:
    return f'"{printable(data)}"' if data else ""


def _code_reject(data: bytes) -> str:
    return f"of {name_of(CODE_NAMES, data[0])}: {_hex(data)}" if data else ""


def _protocol_reject(data: bytes) -> str:
    protocol = int.from_bytes(data[:2], "big")
    rejected = parse(data[2:]) if protocol >= 0x8000 else None
    what = f" {name_of(CODE_NAMES, rejected.code)} id {rejected.id}" if rejected else ""
    return f"of {protocol_name(protocol)}{what}"


_DETAILS: dict[int, Callable[[bytes], str]] = {
    Code.TERMINATE_REQUEST: _reason,
    Code.TERMINATE_ACK: _reason,
    Code.CODE_REJECT: _code_reject,
    Code.PROTOCOL_REJECT: _protocol_reject,
    Code.ECHO_REQUEST: _magic,
    Code.ECHO_REPLY: _magic,
    Code.DISCARD_REQUEST: _magic,
    Code.IDENTIFICATION: _identification,
}
