"""The capture file, read back with our own eyes and by scapy."""

import os
import struct
import time
from pathlib import Path

import pytest

from pppgate.capture import BUFFER_MOST, FLUSH_AFTER, Capture
from pppgate.config import ConfigError


def records(path: Path) -> list[tuple[float, int, bytes]]:
    """Time, direction, frame of every record."""
    data = path.read_bytes()
    magic, major, minor, _, _, _, linktype = struct.unpack_from("=IHHiIII", data)
    assert (magic, major, minor, linktype) == (0xA1B2C3D4, 2, 4, 204)
    offset = 24
    found = []
    while offset < len(data):
        seconds, micro, kept, length = struct.unpack_from("=IIII", data, offset)
        assert kept == min(length, 65536)
        body = data[offset + 16 : offset + 16 + kept]
        found.append((seconds + micro / 1e6, body[0], body[1:]))
        offset += 16 + kept
    return found


def test_frames_with_direction_and_time(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    capture = Capture(str(path), 1_700_000_000.0)
    capture.received(b"\xc0\x21\x01\x01\x00\x04", 5.25)
    capture.sent(0xC021, b"\x02\x01\x00\x04", 5.5)
    capture.close()
    assert records(path) == [
        (1_700_000_005.25, 0, b"\xc0\x21\x01\x01\x00\x04"),
        (1_700_000_005.5, 1, b"\xc0\x21\x02\x01\x00\x04"),
    ]
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_attached_to_a_guest_it_passes_everything_on(tmp_path: Path) -> None:
    capture = Capture(str(tmp_path / "x.pcap"), 0.0)
    got: list[object] = []

    class Guest:
        def receive(self, frame: bytes, now: float) -> None:
            got.append((frame, now))

        def frame(self, protocol: int, information: bytes) -> bytes:
            got.append((protocol, information))
            return b"framed"

    guest = Guest()
    capture.attach(guest, "the guest", lambda: 7.0)  # type: ignore[arg-type]
    guest.receive(b"\x21abc", 1.0)
    assert guest.frame(0x21, b"def") == b"framed"
    capture.close()
    assert got == [(b"\x21abc", 1.0), (0x21, b"def")]
    assert records(tmp_path / "x.pcap") == [(1.0, 0, b"\x21abc"), (7.0, 1, b"\x00\x21def")]


def test_nothing_is_due_while_idle_and_a_second_after_a_packet_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    capture = Capture(str(path), 0.0)
    assert path.stat().st_size == 24
    assert capture.deadline == float("inf")
    capture.received(b"x" * 10, 100.0)
    assert capture.deadline == 100.0 + FLUSH_AFTER
    capture.tick(100.5)
    assert path.stat().st_size == 24
    capture.tick(101.0)
    assert len(records(path)) == 1
    assert capture.deadline == float("inf")
    capture.received(b"y", 200.0)
    capture.received(b"z", 201.5)
    assert len(records(path)) == 3
    capture.close()


def test_the_buffer_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    capture = Capture(str(path), 0.0)
    for _ in range(BUFFER_MOST // 1500 + 2):
        capture.received(bytes(1500), 1.0)
    assert path.stat().st_size > BUFFER_MOST
    capture.close()


def test_an_older_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(b"old" * 1000)
    Capture(str(path), 0.0).close()
    assert records(path) == []


@pytest.mark.parametrize(
    ("name", "words"), [("no/x.pcap", "there is no directory"), ("", "cannot be written")]
)
def test_a_path_that_cannot_be_written_is_one_sentence(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Capture(str(tmp_path / name), 0.0)


def test_a_full_disk_ends_the_capture_and_nothing_else() -> None:
    failures: list[str] = []
    capture = Capture("/dev/full", 0.0, failures.append)
    capture.received(b"x", 1.0)
    capture.tick(10.0)
    capture.received(b"x", 11.0)
    capture.close()
    assert failures == ["The capture /dev/full ends here: No space left on device."]


def test_scapy_reads_it(tmp_path: Path) -> None:
    utils = pytest.importorskip("scapy.utils")
    path = tmp_path / "x.pcap"
    capture = Capture(str(path), time.time())
    capture.received(b"\x00\x21" + bytes(20), 0.0)
    capture.sent(0xC021, b"\x09\x01\x00\x08" + bytes(4), 0.1)
    capture.close()
    with utils.RawPcapReader(str(path)) as reader:
        assert reader.linktype == 204
        assert [bytes(packet) for packet, _ in reader] == [
            b"\x00\x00\x21" + bytes(20),
            b"\x01\xc0\x21\x09\x01\x00\x08" + bytes(4),
        ]
