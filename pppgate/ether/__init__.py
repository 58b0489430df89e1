"""Guests with an Ethernet card: the segment they are on, the links that carry their frames, the NE2000 itself."""
