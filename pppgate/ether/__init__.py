"""Guests with an Ethernet card: the segment they are on, and the links that carry their frames."""
