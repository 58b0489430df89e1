"""The capture file, read back with our own eyes and by scapy."""

import os
import struct
from pathlib import Path

import pytest

from nat.deadlines import Deadlines
from pppgate.capture import BUFFER_MOST, FLUSH_AFTER, Capture
from pppgate.settings import ConfigError


def blocks(path: Path) -> list[tuple[int, bytes]]:
    """Type and body of every block of the file, whose lengths stand before and behind each."""
    data = path.read_bytes()
    offset = 0
    found = []
    while offset < len(data):
        kind, length = struct.unpack_from("=II", data, offset)
        assert length % 4 == 0 and struct.unpack_from("=I", data, offset + length - 4) == (length,)
        found.append((kind, data[offset + 8 : offset + length - 4]))
        offset += length
    assert found[0][0] == 0x0A0D0D0A and found[0][1][:8] == struct.pack("=IHH", 0x1A2B3C4D, 1, 0)
    return found


def records(path: Path) -> list[tuple[float, int, bytes]]:
    """Time, direction (1 inbound, 2 outbound) and octets of every packet."""
    found = []
    for kind, body in blocks(path):
        if kind == 6:
            _, high, low, kept, length = struct.unpack_from("=IIIII", body)
            assert kept == min(length, 65536)
            options = body[20 + kept + -kept % 4 :]
            code, size, direction, end = struct.unpack("=HHII", options)
            assert (code, size, end) == (2, 4, 0)
            found.append((((high << 32) + low) / 1e6, direction, body[20 : 20 + kept]))
    return found


def test_frames_with_direction_and_time(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    capture = Capture(str(path), 1_700_000_000.0, Deadlines())
    guest = capture.ppp("/dev/pts/4")
    guest.received(b"\xc0\x21\x01\x01\x00\x04", 5.25)
    guest.sent(b"\xc0\x21\x02\x01\x00\x04", 5.5)
    capture.close()
    assert records(path) == [
        (1_700_000_005.25, 1, b"\x00\xc0\x21\x01\x01\x00\x04"),
        (1_700_000_005.5, 2, b"\x01\xc0\x21\x02\x01\x00\x04"),
    ]
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_attached_to_a_guest_it_passes_everything_on(tmp_path: Path) -> None:
    capture = Capture(str(tmp_path / "x.pcap"), 0.0, Deadlines())
    got: list[object] = []

    def received(octets: bytes, now: float) -> None:
        got.append((octets, now))

    def framed(protocol: int, information: bytes) -> bytes:
        got.append((protocol, information))
        return b"framed"

    receive, frame = capture.wrap_ppp("the guest", lambda: 7.0, received, framed)
    receive(b"\x21abc", 1.0)
    assert frame(0x21, b"def") == b"framed"
    capture.close()
    assert got == [(b"\x21abc", 1.0), (0x21, b"def")]
    assert records(tmp_path / "x.pcap") == [(1.0, 1, b"\x00\x21abc"), (7.0, 2, b"\x01\x00\x21def")]


def test_nothing_is_due_while_idle_and_a_second_after_a_packet_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    capture = Capture(str(path), 0.0, Deadlines())
    assert path.stat().st_size == 28
    guest = capture.ppp("a")
    assert capture.deadline == float("inf")
    guest.received(b"x" * 10, 100.0)
    assert capture.deadline == 100.0 + FLUSH_AFTER
    capture.tick(100.5)
    assert path.stat().st_size == 28
    capture.tick(101.0)
    assert len(records(path)) == 1
    assert capture.deadline == float("inf")
    guest.received(b"y", 200.0)
    guest.received(b"z", 201.5)
    assert len(records(path)) == 3
    capture.close()


def test_the_buffer_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    capture = Capture(str(path), 0.0, Deadlines())
    guest = capture.ppp("a")
    for _ in range(BUFFER_MOST // 1500 + 2):
        guest.received(bytes(1500), 1.0)
    assert path.stat().st_size > BUFFER_MOST
    capture.close()


def test_an_older_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(b"old" * 1000)
    Capture(str(path), 0.0, Deadlines()).close()
    assert records(path) == []


@pytest.mark.parametrize(("name", "words"), [("no/x.pcap", "there is no directory"), ("", "cannot be written")])
def test_a_path_that_cannot_be_written_is_one_sentence(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Capture(str(tmp_path / name), 0.0, Deadlines())


def test_a_full_disk_ends_the_capture_and_nothing_else() -> None:
    failures: list[str] = []
    capture = Capture("/dev/full", 0.0, Deadlines(), failures.append)
    guest = capture.ppp("a")
    guest.received(b"x", 1.0)
    capture.tick(10.0)
    guest.received(b"x", 11.0)
    capture.close()
    assert failures == ["The capture /dev/full ends here: No space left on device."]


def test_guests_of_both_kinds_have_an_interface_each(tmp_path: Path) -> None:
    utils = pytest.importorskip("scapy.utils")
    path = tmp_path / "x.pcap"
    capture = Capture(str(path), 1_700_000_000.0, Deadlines())
    ppp, ethernet = capture.ppp("/dev/pts/4"), capture.ethernet("/tmp/eth0#1")
    ppp.received(b"\x00\x21" + bytes(20), 0.0)
    ethernet.sent(bytes(range(61)), 0.5)
    capture.close()
    names = [body[12 : 12 + struct.unpack_from("=H", body, 10)[0]] for kind, body in blocks(path) if kind == 1]
    assert names == [b"/dev/pts/4", b"/tmp/eth0#1"]
    assert records(path) == [
        (1_700_000_000.0, 1, b"\x00\x00\x21" + bytes(20)),
        (1_700_000_000.5, 2, bytes(range(61))),
    ]
    with utils.RawPcapNgReader(str(path)) as reader:
        read = [(meta.linktype, bytes(packet)) for packet, meta in reader]
    assert read == [(204, b"\x00\x00\x21" + bytes(20)), (1, bytes(range(61)))]


def test_interfaces_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pppgate.capture.INTERFACES_MOST", 3)
    path = tmp_path / "x.pcap"
    capture = Capture(str(path), 0.0, Deadlines())
    for number in range(10):
        capture.ppp(str(number)).received(bytes([number]), 0.0)
    capture.ethernet("late").received(b"late", 0.0)
    capture.close()
    assert [kind for kind, _ in blocks(path)].count(1) == 4
    assert [octets[-1] for _, _, octets in records(path)[:10]] == list(range(10))


def test_attached_to_a_port_of_the_segment_it_passes_everything_on(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    capture = Capture(str(path), 0.0, Deadlines())
    got: list[object] = []

    def received(port: str, frame: bytes, now: float) -> None:
        got.append((port, frame, now))

    def sent(frames: list[bytes]) -> int:
        got.append(frames)
        return 1

    port = "the port"
    receive, send = capture.wrap_ethernet("the guest", lambda: 7.0, received, sent)
    receive(port, b"abc", 1.0)
    assert send([b"de", b"f"]) == 1
    capture.close()
    assert got == [(port, b"abc", 1.0), [b"de", b"f"]]
    assert records(path) == [(1.0, 1, b"abc"), (7.0, 2, b"de")]  # what was not taken was not sent
