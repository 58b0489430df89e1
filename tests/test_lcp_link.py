"""Two whole links back to back, and a link against packets made by hand."""

from ppp_ends import GATEWAY, GUEST, Wire, client, server


def test_back_to_back():
    a, b = server(), client()
    wire = Wire(a, b)
    wire.up()
    wire.settle()
    for e in a.events + b.events:
        pass
    assert a.ipcp.opened and b.ipcp.opened
    assert b.ipcp.local == GUEST and b.ipcp.remote == GATEWAY
    assert a.ipcp.remote == GUEST
    print(a.events, b.events)
