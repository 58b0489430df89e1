"""Everything that PPP counts, with a sentence each: what happened, as many times as the number says."""

from collections.abc import Mapping
from typing import Final

CONTROL: Final[Mapping[str, str]] = {
    "bad_answer": "An answer to a Configure-Request did not fit to what was asked.",
    "bad_length": "A length in a packet was wrong.",
    "bad_options": "The options of a packet could not be read.",
    "not_up": "A packet came while the protocol was not in use.",
    "unknown_code": "A packet had an unknown code.",
    "wrong_id": "An answer did not belong to the last request.",
}
"""What each control protocol counts under its own name: "lcp.bad_length", "ipcp.bad_length"."""


def of_control(name: str) -> dict[str, str]:
    """The counters of the control protocol with this name, in lower case."""
    return {f"{name}.{why}": f"{name.upper()}: {sentence}" for why, sentence in CONTROL.items()}


COUNTERS: Final[Mapping[str, str]] = {
    "hdlc.abort": "A frame was aborted by its sender.",
    "hdlc.fcs": "A frame was damaged on the line.",
    "hdlc.frames": "A frame came whole.",
    "hdlc.giant": "A frame was longer than was agreed on.",
    "hdlc.runt": "A frame was too short to be one.",
    "link.out_of_phase": "A packet came for which it was too early, or too late.",
    "link.protocol_rejected": "A packet had an unknown protocol, and was rejected.",
    "codec.not_decoded": "A packet could not be restored by a codec, and was dropped.",
    "codec.not_encoded": "A packet was dropped by a codec on its way to the line.",
    "codec.too_long": "A packet had grown longer in a codec than the peer takes, and was dropped.",
    "auth.dropped": "A packet of an authentication protocol was not understood, or not expected.",
    "lcp.not_opened": "LCP: An echo, a discard or a reject came while the link was not open.",
    **of_control("lcp"),
}
