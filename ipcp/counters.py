"""Everything that IPCP counts, with a sentence each."""

from collections.abc import Mapping
from typing import Final

from lcp.counters import of_control

COUNTERS: Final[Mapping[str, str]] = of_control("ipcp")
