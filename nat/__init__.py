"""A guest's IP packets as ordinary sockets: TCP, UDP, ICMP, DNS, forwards, and the rules over them."""
