"""Run inside a guest: echo servers on the TCP and UDP port given, saying what they received and from whom."""

import socket
import sys
import threading

port = int(sys.argv[1])
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", port))
tcp = socket.create_server(("0.0.0.0", port))


def echo_datagrams() -> None:
    while True:
        data, caller = udp.recvfrom(65536)
        udp.sendto(caller[0].encode() + b" " + data, caller)


threading.Thread(target=echo_datagrams, daemon=True).start()
print("listening", flush=True)
while True:
    stream, caller = tcp.accept()
    with stream:
        received = b""
        while data := stream.recv(65536):
            received += data
        stream.sendall(caller[0].encode() + b" " + received)
