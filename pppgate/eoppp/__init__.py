"""Ethernet over PPP: a guest with a network card behind any PPP server, which is called, redialed, talked to."""
