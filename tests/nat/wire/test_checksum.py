"""nat.wire.checksum against the RFC's own words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nat.wire.checksum import checksum, sum16
from tests.support.rfc1071 import reference


@pytest.mark.parametrize("size", (*range(0, 40), *range(250, 262), *range(734, 740), *range(1468, 1476), 65535))
def test_checksum_at_every_size_where_the_method_changes(size: int) -> None:
    for fill in (b"\0", b"\xff", b"\x01\xfe", b"\xab\xcd\xef"):
        data = (fill * size)[:size]
        assert checksum(data) == reference(data)
        assert sum16(memoryview(data)) == sum16(data)


@settings(deadline=None)
@given(st.binary(max_size=3000))
def test_checksum_is_rfc_1071(data: bytes) -> None:
    assert checksum(data) == reference(data)
