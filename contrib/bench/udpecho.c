/*
 * udpecho: sends each datagram back to whoever sent it, on a port of 127.0.0.1 that it prints first.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

int main(void)
{
    static char datagram[65536];
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t length = sizeof address;
    int s = socket(AF_INET, SOCK_DGRAM, 0), buffer = 4 << 20;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(s, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    if (bind(s, (struct sockaddr *)&address, sizeof address)) { perror("udpecho"); return 1; }
    getsockname(s, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        length = sizeof address;
        ssize_t n = recvfrom(s, datagram, sizeof datagram, 0, (struct sockaddr *)&address, &length);
        if (n >= 0) sendto(s, datagram, (size_t)n, 0, (struct sockaddr *)&address, length);
    }
}
