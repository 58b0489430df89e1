"""Byte lines to a guest: ptys, terminals, sockets and real serial ports, behind one small interface."""
