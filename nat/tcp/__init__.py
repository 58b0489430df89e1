"""TCP connections of guests, each carried by a stream."""
