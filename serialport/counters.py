"""Everything that serial links count, with a sentence each: what happened, as many times as the number says."""

from collections.abc import Mapping
from typing import Final

COUNTERS: Final[Mapping[str, str]] = {
    "uart.breaks": "A guest sent a break.",
    "uart.busy": "Somebody called while another was on the line, and was turned away.",
    "uart.no_carrier": "A guest sent an octet while nobody was on the line.",
    "uart.no_descriptor": "A guest's line could not be opened for want of descriptors.",
}
