"""Fixtures of the end-to-end tests: the host's servers, once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.needs import programs_on_path
from tests.e2e.servers import Servers, servers


@pytest.fixture(scope="session")
def host() -> Iterator[Servers]:
    with servers() as running:
        yield running


@pytest.fixture(scope="session", autouse=True)
def _sbin_on_path() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", programs_on_path())
        yield
