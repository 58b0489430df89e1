# ruff: noqa: E501
"""Hostile inputs, each a case that is replayed through a whole gateway (tests/scenarios/test_hostile_inputs.py).

A name begins with the CVE, or the project and its commit, whose bug the input once was, else with the section of the
rule that it breaks.  A case is the frames to send, and the counter that has to say so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lcp import fcs
from lcp.packet import build
from nat.wire.checksum import checksum
from nat.wire.icmp import build_icmp
from nat.wire.ipv4 import build_ipv4
from nat.wire.tcp import ACK, FIN, RST, SYN, build_segment
from nat.wire.udp import build_udp
from tests.support.fakes import fragment_of
from tests.support.serial_world import DNS, GATEWAY, GUEST, OUTSIDE, Canary, SerialWorld

LCP, IPCP, IP = 0xC021, 0x8021, 0x0021
NEIGHBOR = bytes((10, 0, 2, 16))
ANY, EVERYBODY, GROUP, LOOPBACK = bytes(4), b"\xff" * 4, bytes((224, 0, 0, 251)), bytes((127, 0, 0, 1))

Frames = list[tuple[int, bytes]] | bytes


@dataclass
class Case:
    name: str
    frames: Frames | Callable[[SerialWorld, Canary], Frames]
    counter: str
    times: int = 1  # how much the counter moves
    replies: int = 0  # frames that may come back
    longer: int = 0  # octets by which a reply may exceed what it answers: the headers of an error

    def make(self, world: SerialWorld, canary: Canary) -> list[bytes]:
        """The octets of each frame."""
        frames: Any = self.frames(world, canary) if callable(self.frames) else self.frames
        if isinstance(frames, bytes):
            return [frames]
        return [b"~" + world.end.framer.frame(protocol, information) for protocol, information in frames]


def with_fcs(body: bytes) -> bytes:
    """Escaped and between flags, whatever the body is."""
    whole = body + fcs.compute(body).to_bytes(2, "little")
    return b"~" + b"".join(bytes((0x7D, o ^ 0x20)) if o in b"}~" or o < 32 else bytes((o,)) for o in whole) + b"~"


def ip(*packets: bytes) -> list[tuple[int, bytes]]:
    return [(IP, packet) for packet in packets]


def mended(packet: bytes) -> bytes:
    """With the header checksum that belongs to it."""
    hlen = max(20, (packet[0] & 15) * 4)
    head = packet[:10] + b"\0\0" + packet[12:hlen]
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + packet[hlen:]


def with_options(packet: bytes, options: bytes) -> bytes:
    total = len(packet) + len(options)
    head = bytes((0x45 + len(options) // 4, packet[1])) + total.to_bytes(2, "big") + packet[4:20] + options
    return mended(head + packet[20:])


def tcp(flags: int, *, source: bytes = GUEST, destination: bytes = OUTSIDE, sport: int = 1025, dport: int = 80,
        **rest: Any) -> bytes:  # fmt: skip
    return build_segment(source, sport, destination, dport, sequence=rest.pop("sequence", 1), flags=flags, **rest)


def udp(payload: bytes = b"xy", *, source: bytes = GUEST, destination: bytes = OUTSIDE, sport: int = 1025,
        dport: int = 9) -> bytes:  # fmt: skip
    return build_udp(source, sport, destination, dport, payload)


def lying_udp(length: int, payload: bytes = b"abcdefgh") -> bytes:
    head = (1025).to_bytes(2, "big") + (9).to_bytes(2, "big") + length.to_bytes(2, "big") + b"\0\0"
    return build_ipv4(GUEST, OUTSIDE, 17, head + payload)


def echo(destination: bytes = OUTSIDE, kind: int = 8, payload: bytes = b"ping") -> bytes:
    return build_icmp(GUEST, destination, kind, 0, b"\0\1\0\2", payload)


def query(name: bytes, flags: int = 0x0100, counts: bytes = b"\0\1\0\0\0\0\0\0") -> bytes:
    message = b"\xab\xcd" + flags.to_bytes(2, "big") + counts + name + b"\0\1\0\1"
    return udp(message, destination=DNS, dport=53)


def in_flow(flags: int, ahead: int = 0, acked: int = 0, payload: bytes = b"", **rest: Any) -> Callable[..., Frames]:
    """A segment of the canary's own connection, `ahead` of what is expected, acknowledging `acked` too much."""

    def make(world: SerialWorld, canary: Canary) -> Frames:
        guest = canary.guest
        return ip(
            tcp(
                flags, sport=guest.port, dport=guest.remote_port, sequence=guest.iss + guest.nxt + ahead,
                acknowledgement=guest.irs + guest.rcv_nxt + acked, window=guest.window, payload=payload, **rest,
            )
        )  # fmt: skip

    return make


def wrong_id(protocol: int, code: int) -> Callable[..., Frames]:
    def make(world: SerialWorld, canary: Canary) -> Frames:
        return [(protocol, build(code, 0xEE, b"\x03\x06\x0a\x00\x02\x02"))]

    return make


FLIPPED = (
    b"~"
    + b"~".join(
        bytes(o ^ (1 << (bit % 8) if at == 6 + bit // 8 else 0) for at, o in enumerate(body))
        for bit in range(16)
        for body in [b"\xff\x03\xc0\x21zz" + fcs.compute(b"\xff\x03\xc0\x21zz").to_bytes(2, "little")]
        if not set(bytes(o ^ (1 << (bit % 8) if at == 6 + bit // 8 else 0) for at, o in enumerate(body))) & set(b"~}")
    )
    + b"~"
)
FLIPS = len([part for part in FLIPPED.split(b"~") if part])

CASES: list[Case] = [
    # framing
    Case("lwIP a9664395: a valid FCS and nothing else", b"\x7e\x00\x00\x7e", "hdlc.runt"),
    Case("CVE-2024-50035: an empty packet", with_fcs(b"\xff\x03"), "hdlc.runt"),
    Case("RFC 1662 section 4.3: under four octets", b"~\x01\x02\x03~", "hdlc.runt"),
    Case("lwIP a39ce0f5: a frame that never ends", b"~" + b"U" * 9000 + b"~", "hdlc.giant"),
    Case("CVE-2007-5729: a frame above the MRU", with_fcs(b"\xff\x03\x00\x21" + b"E" * 3000), "hdlc.giant"),
    Case("RFC 1662 section 4.3: an abort", b"~" + b"\xff\x03\xc0\x21abcdef}~", "hdlc.abort"),
    Case("RFC 1662 appendix C: a wrong FCS", b"~\xff\x03\xc0\x21\x09\x01\x00\x08abcdzz~", "hdlc.fcs"),
    Case("RFC 1662 appendix C: each bit of the FCS flipped", FLIPPED, "hdlc.fcs", times=FLIPS),
    Case("a modem's text: NO CARRIER", b"~\r\nNO CARRIER\r\n~", "hdlc.fcs"),
    Case("a modem's text: AT commands", b"~ATZ\rATDT5551212\rCONNECT 115200\r~", "hdlc.fcs"),
    Case("RFC 1662 section 4.2: an escaped escape", b"~}}}}}}}]~", "hdlc.fcs"),
    Case("noise: 10 KB between two flags", b"~" + bytes(range(1, 125)) * 80 + b"~", "hdlc.giant"),
    # LCP
    Case("RFC 1661 section 5: LCP without a header", [(LCP, b"\x09\x01")], "lcp.bad_length"),
    Case("CVE-2018-11574: LCP length 0", [(LCP, b"\x01\x01\x00\x00")], "lcp.bad_length"),
    Case("CVE-2018-11574: LCP length 3", [(LCP, b"\x01\x01\x00\x03")], "lcp.bad_length"),
    Case("CVE-2018-11574: LCP length 65535", [(LCP, b"\x01\x01\xff\xff" + bytes(40))], "lcp.bad_length"),
    Case("CVE-2023-52557: LCP option of length 0", [(LCP, build(1, 9, b"\x01\x00\x05\xdc"))], "lcp.bad_options"),
    Case("CVE-2020-15173: LCP option of length 1", [(LCP, build(1, 9, b"\x05\x01\x01\x02"))], "lcp.bad_options"),
    Case(
        "RFC 1661 section 6: LCP option past the end",
        [(LCP, build(1, 9, b"\x01\x04\x05\xdc\x05\x06ab"))],
        "lcp.bad_options",
    ),
    Case(
        "pppd c82ddc5: an unknown code of 1,490 octets",
        [(LCP, build(200, 9, bytes(1486)))],
        "lcp.unknown_code",
        replies=1,
        longer=4,
    ),
    Case("RFC 1661 section 5.6: code 0", [(LCP, build(0, 9))], "lcp.unknown_code", replies=1, longer=4),
    Case("RFC 1661 section 5.8: Echo-Request without a magic number", [(LCP, build(9, 9, b"abc"))], "lcp.bad_length"),
    Case("RFC 1570 section 1.1: Identification without a magic number", [(LCP, build(12, 9))], "lcp.bad_length"),
    Case("RFC 1661 section 5.2: Ack of another identifier", wrong_id(LCP, 2), "lcp.wrong_id"),
    Case("RFC 1661 section 5.3: Nak of another identifier", wrong_id(LCP, 3), "lcp.wrong_id"),
    Case("RFC 1661 section 5.4: Reject of another identifier", wrong_id(LCP, 4), "lcp.wrong_id"),
    Case("RFC 1661 section 5.7: Protocol-Reject of half a protocol", [(LCP, build(8, 9, b"\x80"))], "lcp.bad_length"),
    Case("RFC 1661 section 5.6: Code-Reject of nothing", [(LCP, build(7, 9))], "lcp.bad_length"),
    # protocols that were never negotiated
    *(
        Case(f"{tag}: {what}", [(protocol, body)], "link.protocol_rejected", replies=1, longer=6)
        for tag, what, protocol, body in (
            ("CVE-2020-8597", "EAP MD5 with a long name", 0xC227, build(2, 1, b"\x04\x10" + bytes(16) + b"N" * 1400)),
            ("lwIP d281d3e9", "EAP request never negotiated", 0xC227, build(1, 1, b"\x04\xff" + bytes(8))),
            (
                "CVE-2026-75883",
                "an oversized PEAP response",
                0xC227,
                build(2, 7, b"\x19\x80\xff\xff\xff\xff" + bytes(1400)),
            ),
            ("CVE-2004-1002", "CBCP with inner lengths that lie", 0xC029, build(1, 1, b"\x02\xff\x00")),
            ("CVE-2018-11574", "CHAP Value-Size 255", 0xC223, build(2, 1, b"\xff" + bytes(20))),
            ("CVE-2020-7466", "CHAP response and nothing in it", 0xC223, build(2, 1)),
            ("RFC 1661 section 5.7", "PAP never negotiated", 0xC023, build(1, 1, b"\xff\xff\xff")),
            ("CVE-2024-50033", "VJ uncompressed without its header", 0x002F, b"\x45" + bytes(19)),
            ("CVE-2015-7799", "VJ compressed, slot 255", 0x002D, b"\x40\xff\x00\x00"),
            ("RFC 1962 section 2.1", "a compressed datagram without CCP", 0x00FD, bytes(60)),
            ("RFC 1661 section 5.7", "CCP", 0x80FD, build(1, 1, b"\x1a\x04\x78\x00")),
            ("RFC 1661 section 5.7", "ECP", 0x8053, build(1, 1)),
            ("RFC 5072 section 4.1", "IPV6CP with a zero identifier", 0x8057, build(1, 1, b"\x01\x0a" + bytes(8))),
            (
                "CVE-2020-10756",
                "IPv6 whose payload length exceeds the frame",
                0x0057,
                b"\x60\0\0\0\xff\xff\x3a\x40" + bytes(32),
            ),
            ("CVE-2020-22283", "a short ICMPv6 error", 0x0057, b"\x60\0\0\0\0\4\x3a\xff" + bytes(32) + b"\1\0\0\0"),
            ("RFC 1661 section 2", "a protocol with an even low octet", 0x4122, b"abcd"),
            ("RFC 1661 section 2", "a protocol with an odd high octet", 0x0121, b"abcd"),
        )
    ),  # fmt: skip
    # IPCP
    Case("CVE-2018-11574: IPCP length 2", [(IPCP, b"\x01\x01\x00\x02")], "ipcp.bad_length"),
    Case("CVE-2020-15173: IPCP option of length 0", [(IPCP, build(1, 9, b"\x03\x00"))], "ipcp.bad_options"),
    Case("CVE-2020-15173: IPCP option of length 1", [(IPCP, build(1, 9, b"\x03\x01"))], "ipcp.bad_options"),
    Case(
        "RFC 1661 section 6: IPCP option past the end", [(IPCP, build(1, 9, b"\x03\xff\x0a\x00"))], "ipcp.bad_options"
    ),
    *(
        Case(
            f"RFC 1332 section 2: IPCP code {code}",
            [(IPCP, build(code, 9, bytes(8)))],
            "ipcp.unknown_code",
            replies=1,
            longer=4,
        )
        for code in (8, 9, 10, 11, 255)
    ),
    Case("RFC 1661 section 5.2: IPCP Ack of another identifier", wrong_id(IPCP, 2), "ipcp.wrong_id"),
    # IP
    Case("CVE-2021-3592: IP cut at every octet", ip(*(udp()[:n] for n in range(1, 20))), "ip.short", times=19),
    Case("CVE-2021-3594: UDP cut at every octet", ip(*(udp()[:n] for n in range(20, 30))), "ip.bad_header", times=10),
    Case(
        "CVE-2020-35684: total length under the header", ip(mended(udp()[:2] + b"\0\x13" + udp()[4:])), "ip.bad_header"
    ),
    Case(
        "CVE-2021-3593: total length past the frame", ip(mended(udp()[:2] + b"\xff\xff" + udp()[4:])), "ip.bad_header"
    ),
    *(
        Case(f"RFC 791 section 3.1: IHL {ihl}", ip(mended(bytes((0x40 + ihl,)) + udp()[1:])), "ip.bad_header")
        for ihl in (0, 1, 4, 15)
    ),
    Case("RFC 791 section 3.1: IPv6 in the place of IPv4", ip(b"\x60" + bytes(39)), "ip.bad_header"),
    Case("RFC 791 section 3.1: a wrong header checksum", ip(udp()[:10] + b"\x12\x34" + udp()[12:]), "ip.bad_checksum"),
    Case("CVE-2014-3640: UDP from 0.0.0.0 port 0", ip(udp(source=ANY, sport=0)), "ip.bad_source"),
    Case("passt f15be71: from 127.0.0.1", ip(tcp(SYN, source=LOOPBACK)), "ip.bad_source"),
    Case("passt f15be71: from a broadcast", ip(udp(source=EVERYBODY)), "ip.bad_source"),
    Case("passt f15be71: from a multicast group", ip(udp(source=GROUP)), "ip.bad_source"),
    Case("RFC 2827: from a neighbor", ip(udp(source=NEIGHBOR)), "ip.bad_source"),
    Case("RFC 2827: from the gateway", ip(tcp(SYN, source=GATEWAY)), "ip.bad_source"),
    Case("CVE-1999-0016: LAND", ip(tcp(SYN, destination=GUEST, dport=1025)), "ip.land"),
    Case(
        "CVE-2019-12256: IP options of length 0 on the way to nowhere",
        ip(with_options(build_ipv4(GUEST, OUTSIDE, 47, bytes(8)), b"\x83\x00\xff\xff")),
        "ip.unknown_protocol",
        replies=1,
        longer=32,
    ),
    Case(
        "RFC 1122 section 3.2.2.1: an unknown protocol",
        ip(build_ipv4(GUEST, OUTSIDE, 47, bytes(8))),
        "ip.unknown_protocol",
        replies=1,
        longer=28,
    ),
    # destinations
    *(
        Case(f"{tag}: {what}", ip(packet), counter, replies=replies, longer=28)
        for tag, what, packet, counter, replies in (
            ("slirp4netns #50", "TCP to 127.0.0.1", tcp(SYN, destination=LOOPBACK), "policy.loopback", 1),
            ("slirp4netns #50", "UDP to 127.0.0.1", udp(destination=LOOPBACK), "policy.loopback", 1),
            ("slirp4netns #50", "ping of 127.0.0.1", echo(LOOPBACK), "policy.loopback", 1),
            (
                "slirp4netns #50",
                "TCP to the gateway's alias of the host",
                tcp(SYN, destination=GATEWAY),
                "policy.gateway",
                1,
            ),
            ("passt 3b59b97", "TCP to 0.0.0.0", tcp(SYN, destination=ANY), "policy.this_network", 1),
            ("passt 3b59b97", "UDP to 0.0.0.0", udp(destination=ANY), "policy.this_network", 1),
            ("RFC 9293 section 3.9.2.3", "SYN to a group", tcp(SYN, destination=GROUP), "policy.multicast", 0),
            ("RFC 9293 section 3.9.2.3", "SYN to everybody", tcp(SYN, destination=EVERYBODY), "policy.broadcast", 0),
            (
                "RFC 3927 section 2.7",
                "TCP to the metadata service",
                tcp(SYN, destination=bytes((169, 254, 169, 254))),
                "policy.metadata",
                1,
            ),
            (
                "CVE-2020-7211",
                "TFTP to the gateway",
                udp(b"\0\1..\\..\\secret\0octet\0", destination=GATEWAY, dport=69),
                "policy.gateway",
                1,
            ),
            (
                "CVE-2021-3592",
                "BOOTP cut short",
                udp(b"\1\1\6\0", destination=EVERYBODY, sport=68, dport=67),
                "policy.broadcast",
                0,
            ),
            (
                "CVE-2021-4024",
                "the gateway's address has no control port",
                tcp(SYN, destination=GATEWAY, dport=80),
                "policy.gateway",
                1,
            ),
            (
                "RFC 9293 section 3.10.7.1",
                "TCP to the name server's other ports",
                tcp(SYN, destination=DNS, dport=80),
                "tcp.refused",
                1,
            ),
        )
    ),  # fmt: skip
    # UDP
    Case("RFC 768: UDP of 7 octets", ip(build_ipv4(GUEST, OUTSIDE, 17, bytes(7))), "udp.short"),
    Case("RFC 768: UDP length 7", ip(lying_udp(7)), "udp.bad_length"),
    Case("RFC 768: UDP length 0", ip(lying_udp(0)), "udp.bad_length"),
    Case("RFC 768: UDP length past the packet", ip(lying_udp(17)), "udp.bad_length"),
    Case("CVE-2020-7454: UDP length 65535", ip(lying_udp(65535)), "udp.bad_length"),
    Case(
        "RFC 1122 section 4.1.3.4: a wrong UDP checksum", ip(udp()[:26] + b"\x12\x34" + udp()[28:]), "udp.bad_checksum"
    ),
    Case("passt 61c0b0d: UDP to port 0", ip(udp(dport=0)), "udp.port_zero"),
    # TCP without a flow
    Case("CVE-2021-3595: TCP cut short", ip(build_ipv4(GUEST, OUTSIDE, 6, bytes(19))), "tcp.short"),
    Case("passt 61c0b0d: SYN to port 0", ip(tcp(SYN, dport=0)), "tcp.port_zero"),
    Case("passt 61c0b0d: SYN from port 0", ip(tcp(SYN, sport=0)), "tcp.port_zero"),
    Case(
        "RFC 9293 section 3.1: a wrong TCP checksum",
        ip(tcp(SYN)[:36] + b"\x12\x34" + tcp(SYN)[38:]),
        "tcp.bad_checksum",
    ),
    Case("RFC 9293 section 3.10.7.1: no flow at all", ip(tcp(ACK, acknowledgement=5)), "tcp.no_flow", replies=1),
    Case("RFC 9293 section 3.10.7.1: SYN and FIN", ip(tcp(SYN | FIN)), "tcp.no_flow", replies=1),
    Case("RFC 9293 section 3.10.7.1: a segment without flags", ip(tcp(0)), "tcp.no_flow", replies=1),
    Case("RFC 9293 section 3.10.7.1: RST without a flow", ip(tcp(RST)), "tcp.stray_reset"),
    # TCP in the middle of somebody's connection
    Case("CVE-2004-0230: RST in the window", in_flow(RST, ahead=700), "tcp.challenge", replies=1),
    Case("CVE-2004-0230: RST out of the window", in_flow(RST, ahead=1 << 24), "tcp.stray_reset"),
    Case("RFC 5961 section 4: SYN in an established connection", in_flow(SYN), "tcp.challenge", replies=1),
    Case(
        "RFC 9293 section 3.10.7.4: ACK of what was never sent",
        in_flow(ACK, acked=5000),
        "tcp.ack_of_unsent",
        replies=1,
    ),
    Case("RFC 9293 section 3.10.7.4: data without ACK", in_flow(0, payload=b"!"), "tcp.no_ack"),
    Case(
        "RFC 9293 section 3.10.7.4: data past the window",
        in_flow(ACK, ahead=1 << 20, payload=b"!" * 90),
        "tcp.past_window",
        replies=1,
    ),
    Case(
        "RFC 9293 section 3.10.7.4: FIN past the window",
        in_flow(ACK | FIN, ahead=1 << 20),
        "tcp.past_window",
        replies=1,
    ),
    Case("passt 238c69f: keep-alive", in_flow(ACK, ahead=-1), "tcp.challenge", replies=1),
    Case(
        "RFC 9293 section 3.10.7.4: old data again",
        in_flow(ACK, ahead=-500, payload=b"?" * 400),
        "tcp.duplicate_data",
        replies=1,
    ),
    # fragments
    Case(
        "CVE-1999-0128: ping of death",
        ip(fragment_of(bytes(64), 65512, more=False, source=GUEST, destination=OUTSIDE)),
        "fragment.too_long",
    ),
    Case(
        "RFC 1858: a tiny first fragment of TCP",
        ip(fragment_of(bytes(8), 0, more=True, protocol=6, destination=OUTSIDE)),
        "fragment.tiny",
    ),
    Case(
        "RFC 1858: TCP flags in a second fragment",
        ip(fragment_of(bytes(24), 8, more=True, protocol=6, destination=OUTSIDE)),
        "fragment.tiny",
    ),
    Case(
        "RFC 791 section 3.2: a fragment of nothing",
        ip(fragment_of(b"", 8, more=True, destination=OUTSIDE)),
        "fragment.bad_length",
    ),
    Case(
        "RFC 791 section 3.2: a middle fragment of 5 octets",
        ip(fragment_of(b"12345", 8, more=True, destination=OUTSIDE)),
        "fragment.bad_length",
    ),
    Case(
        "CVE-2018-11806: an overlap that trims the front",
        ip(
            fragment_of(bytes(64), 0, more=True, destination=OUTSIDE),
            fragment_of(bytes(64), 32, more=True, destination=OUTSIDE),
        ),
        "fragment.overlap",
    ),
    Case(
        "CVE-2019-15890: fragments that cover their successors",
        ip(*(fragment_of(bytes(1000 - 8 * n), 8 * n, more=True, destination=OUTSIDE) for n in range(100, 0, -1))),
        "fragment.overlap",
    ),
    Case(
        "CVE-2019-14378: a first fragment larger than all",
        ip(
            fragment_of(bytes(1480), 0, more=True, destination=OUTSIDE),
            fragment_of(bytes(8), 1472, more=False, destination=OUTSIDE),
        ),
        "fragment.overlap",
    ),
    Case(
        "RFC 791 section 3.2: two ends",
        ip(
            fragment_of(bytes(8), 64, more=False, destination=OUTSIDE),
            fragment_of(bytes(8), 128, more=False, destination=OUTSIDE),
        ),
        "fragment.length_conflict",
    ),
    # ICMP
    Case("RFC 792: ICMP of 7 octets", ip(build_ipv4(GUEST, OUTSIDE, 1, b"\x08\0\xf7\xff\0\0\0")), "icmp.short"),
    Case("RFC 792: a wrong ICMP checksum", ip(echo()[:22] + b"\x12\x34" + echo()[24:]), "icmp.bad_checksum"),
    Case("passt b6a4e20: an echo reply nobody asked for", ip(echo(kind=0)), "icmp.not_an_echo"),
    *(
        Case(
            f"CVE-2022-23093: an error that quotes IHL {ihl}",
            ip(echo(kind=3, payload=bytes((0x40 + ihl,)) + bytes(40))),
            "icmp.not_an_echo",
        )
        for ihl in (6, 10, 15)
    ),
    Case("RFC 792: Source Quench", ip(echo(kind=4, payload=udp())), "icmp.not_an_echo"),
    Case("RFC 792: a redirect", ip(echo(kind=5, payload=udp())), "icmp.not_an_echo"),
    # DNS
    *(
        Case(f"{tag}: {what}", ip(query(name, flags, counts)), "dns.malformed")
        for tag, what, name, flags, counts in (
            ("vpnkit", "a name that points to itself", b"\xc0\x0c", 0x0100, b"\0\1\0\0\0\0\0\0"),
            ("vpnkit", "a name that points forward", b"\xc0\x20", 0x0100, b"\0\1\0\0\0\0\0\0"),
            (
                "CVE-2020-11901",
                "a name of more than 255 octets",
                b"\x3f" + b"a" * 63 + b"\x3f" + b"b" * 63 + b"\x3f" + b"c" * 63 + b"\x3f" + b"d" * 63 + b"\0",
                0x0100,
                b"\0\1\0\0\0\0\0\0",
            ),
            ("CVE-2017-14491", "a response in the place of a query", b"\1a\0", 0x8180, b"\0\1\0\0\0\0\0\0"),
            ("RFC 1035 section 4.1.1", "65,535 questions", b"\1a\0", 0x0100, b"\xff\xff\0\0\0\0\0\0"),
            ("RFC 1035 section 4.1.1", "no question", b"\1a\0", 0x0100, b"\0\0\0\0\0\0\0\0"),
            ("RFC 1035 section 3.1", "a label past the end", b"\x3fabc", 0x0100, b"\0\1\0\0\0\0\0\0"),
        )
    ),  # fmt: skip
]
