"""Headers as bytes, one file for each protocol: every field is named here and nowhere else.

What a peer sends wrong is said in one way, here and in all that reads packets (nat, ether, dhcp, eoppp): whoever finds
it counts it by name, `count["udp.bad_checksum"] += 1`, and returns None (a check: False); the caller only returns.  The
names stand in a registry with a sentence each (nat.counters, pppgate.counters).  An exception is never a peer's doing.
"""
