/*
 * manyguests: as many PPP guests as you like in one process, each with one datagram on its way.
 *
 *     manyguests PATH[,PATH...] GUESTS SECONDS PAYLOAD IP PORT
 *
 * In:  unix sockets on which a PPP server listens (HOST:PORT: a TCP socket), over which the guests are dealt in turn;
 *      a UDP echo server at IP and PORT, as the guests see it.
 * Out: one line: how many links came up and in how many seconds, from the first connect to the last link; then, for
 *      SECONDS, round trips a second, their median and 99th percentile in milliseconds, and the least and the most that
 *      one guest had. A guest sends the next datagram when the last one has come back, or after a second.
 *      The status is 1 when a link was missing.
 *
 * A guest asks for an ACCM of 0 and an address. It does not know authentication, compression, fragments.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* RFC 1661, 1332, 1662 */
enum { PPP_IP = 0x0021, PPP_IPCP = 0x8021, PPP_LCP = 0xC021 };
enum { CONF_REQ = 1, CONF_ACK, CONF_NAK, CONF_REJ, ECHO_REQ = 9, ECHO_REP };
enum { FLAG = 0x7E, ESCAPE = 0x7D, FCS_GOOD = 0xF0B8, FRAME_MOST = 2048, SAMPLES_MOST = 1 << 22 };
static const double UP_MOST = 30, RESEND = 1, RESEND_REQUEST = 3;      /* seconds */

struct layer { uint8_t id; int we_are_acked, they_are_acked; };

struct guest {
    int fd, escaped, up;
    struct layer lcp, ipcp;
    uint8_t address[4], frame[FRAME_MOST];
    size_t length;
    double sent;
    unsigned long trips;
};

static uint16_t fcs_table[256];
static struct guest *guests;
static int count, up, payload, port, sampled;
static uint8_t destination[4];
static double *samples;
static int n_samples;
static unsigned long trips, resent;

static void fail(const char *what) { fprintf(stderr, "manyguests: %s: %s\n", what, strerror(errno)); exit(2); }

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- frames out ---- */

static void make_fcs_table(void)
{
    for (int octet = 0; octet < 256; octet++) {
        uint16_t fcs = (uint16_t)octet;
        for (int bit = 0; bit < 8; bit++)
            fcs = (uint16_t)(fcs & 1 ? fcs >> 1 ^ 0x8408 : fcs >> 1);
        fcs_table[octet] = fcs;
    }
}

static uint16_t fcs16(const uint8_t *p, size_t n)
{
    uint16_t fcs = 0xFFFF;
    while (n--)
        fcs = (uint16_t)(fcs >> 8 ^ fcs_table[(fcs ^ *p++) & 255]);
    return fcs;
}

static void send_frame(struct guest *g, unsigned protocol, const uint8_t *information, size_t n)
{
    uint8_t plain[FRAME_MOST + 6] = { 0xFF, 0x03, (uint8_t)(protocol >> 8), (uint8_t)protocol };
    uint8_t out[2 * sizeof plain + 2], *to = out;
    memcpy(plain + 4, information, n);
    n += 4;
    uint16_t fcs = (uint16_t)~fcs16(plain, n);
    plain[n++] = (uint8_t)fcs;
    plain[n++] = (uint8_t)(fcs >> 8);
    *to++ = FLAG;
    for (size_t i = 0; i < n; i++) {
        int escape = plain[i] == FLAG || plain[i] == ESCAPE || (protocol == PPP_LCP && plain[i] < 0x20);
        if (escape) *to++ = ESCAPE;
        *to++ = escape ? plain[i] ^ 0x20 : plain[i];
    }
    *to++ = FLAG;
    if (write(g->fd, out, (size_t)(to - out)) != to - out) fail("a socket took only a part of a frame");
}

static void send_control(struct guest *g, unsigned protocol, int code, int id, const uint8_t *data, size_t n)
{
    uint8_t packet[FRAME_MOST] = { (uint8_t)code, (uint8_t)id, (uint8_t)((n + 4) >> 8), (uint8_t)(n + 4) };
    memcpy(packet + 4, data, n);
    send_frame(g, protocol, packet, n + 4);
}

static void request_lcp(struct guest *g)
{
    static const uint8_t no_accm[6] = { 2, 6 };             /* Async-Control-Character-Map 0 */
    send_control(g, PPP_LCP, CONF_REQ, 1, no_accm, 6);
}

static void request_ipcp(struct guest *g)
{
    uint8_t option[6] = { 3, 6 };
    memcpy(option + 2, g->address, 4);
    send_control(g, PPP_IPCP, CONF_REQ, ++g->ipcp.id, option, 6);
}

static uint16_t ip_checksum(const uint8_t *p)
{
    uint32_t sum = 0;
    for (int i = 0; i < 20; i += 2) sum += (uint32_t)(p[i] << 8 | p[i + 1]);
    while (sum >> 16) sum = (sum & 0xFFFF) + (sum >> 16);
    return (uint16_t)~sum;
}

static void send_datagram(struct guest *g)
{
    int udp = 8 + payload, total = 20 + udp;
    uint8_t p[FRAME_MOST] = { 0x45, 0, (uint8_t)(total >> 8), (uint8_t)total, [8] = 64, [9] = 17 };
    memcpy(p + 12, g->address, 4);
    memcpy(p + 16, destination, 4);
    uint16_t sum = ip_checksum(p);
    p[10] = (uint8_t)(sum >> 8); p[11] = (uint8_t)sum;
    p[20] = 0x30; p[21] = 0x39;                             /* from port 12345; no UDP checksum (RFC 768) */
    p[22] = (uint8_t)(port >> 8); p[23] = (uint8_t)port;
    p[24] = (uint8_t)(udp >> 8); p[25] = (uint8_t)udp;
    memset(p + 28, 'x', (size_t)payload);
    g->sent = seconds();
    send_frame(g, PPP_IP, p, (size_t)total);
}

/* ---- frames in ---- */

/* True when this packet has brought both sides to agreement. */
static int receive_control(struct guest *g, struct layer *c, unsigned protocol, uint8_t *p, size_t n)
{
    size_t length = n < 4 ? 0 : (size_t)(p[2] << 8 | p[3]);
    if (length < 4 || length > n) return 0;
    switch (p[0]) {
    case CONF_REQ:
        if (c == &g->lcp && c->we_are_acked && c->they_are_acked) {       /* a request of ours came twice: all anew */
            memset(&g->lcp, 0, sizeof g->lcp);
            memset(&g->ipcp, 0, sizeof g->ipcp);
            if (g->up) up--;
            g->up = 0;
            request_lcp(g);
        }
        send_control(g, protocol, CONF_ACK, p[1], p + 4, length - 4);
        c->they_are_acked = 1;
        return c->we_are_acked;
    case CONF_ACK:
        if (c->we_are_acked || (c == &g->ipcp && p[1] != c->id)) return 0;
        c->we_are_acked = 1;
        return c->they_are_acked;
    case CONF_NAK:
        if (protocol == PPP_IPCP && p[1] == c->id && length >= 10) {
            memcpy(g->address, p + 6, 4);
            request_ipcp(g);
        }
        return 0;
    case ECHO_REQ:
        if (protocol == PPP_LCP && length >= 8) {
            memset(p + 4, 0, 4);                            /* no Magic-Number was agreed */
            send_control(g, PPP_LCP, ECHO_REP, p[1], p + 4, length - 4);
        }
    }
    return 0;
}

static void receive_frame(struct guest *g)
{
    uint8_t *p = g->frame;
    size_t n = g->length;
    if (n < 6 || fcs16(p, n) != FCS_GOOD) return;
    n -= 2;
    if (p[0] == 0xFF && p[1] == 0x03) { p += 2; n -= 2; }
    unsigned protocol = p[0] & 1 ? p[0] : (unsigned)(p[0] << 8 | p[1]);
    size_t skip = p[0] & 1 ? 1 : 2;
    p += skip; n -= skip;
    if (protocol == PPP_LCP) {
        if (receive_control(g, &g->lcp, protocol, p, n)) request_ipcp(g);
    } else if (protocol == PPP_IPCP) {
        if (receive_control(g, &g->ipcp, protocol, p, n) && !g->up) { g->up = 1; up++; }
    } else if (protocol == PPP_IP && n > 28 && p[9] == 17) {
        g->trips++;
        if (sampled) {
            trips++;
            if (n_samples < SAMPLES_MOST) samples[n_samples++] = seconds() - g->sent;
        }
        send_datagram(g);
    }
}

static void receive(struct guest *g)
{
    uint8_t in[65536];
    ssize_t n = read(g->fd, in, sizeof in);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { fprintf(stderr, "manyguests: the server closed a line\n"); exit(2); }
    for (ssize_t i = 0; i < n; i++) {
        if (in[i] == FLAG) {
            receive_frame(g);
            g->length = 0;
            g->escaped = 0;
        } else if (in[i] == ESCAPE) g->escaped = 1;
        else {
            if (g->length < sizeof g->frame) g->frame[g->length++] = g->escaped ? in[i] ^ 0x20 : in[i];
            g->escaped = 0;
        }
    }
}

/* ---- the run ---- */

static int connected(const char *where)
{
    struct sockaddr_un local = { .sun_family = AF_UNIX };
    struct sockaddr_in remote = { .sin_family = AF_INET };
    const char *colon = strchr(where, '/') ? NULL : strrchr(where, ':');
    int fd = socket(colon ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) fail("socket");
    if (colon) {
        char host[64] = "";
        snprintf(host, sizeof host, "%.*s", (int)(colon - where), where);
        remote.sin_port = htons((uint16_t)atoi(colon + 1));
        if (inet_pton(AF_INET, host, &remote.sin_addr) != 1) fail(where);
        if (connect(fd, (struct sockaddr *)&remote, sizeof remote)) fail(where);
    } else {
        snprintf(local.sun_path, sizeof local.sun_path, "%s", where);
        if (connect(fd, (struct sockaddr *)&local, sizeof local)) fail(where);
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* Serve all guests until `until`, or until all are up. What is lost is sent again after a second. */
static void serve(int epoll, double until)
{
    double sweep = seconds() + RESEND, t;
    while ((t = seconds()) < until && (sampled || up < count)) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll, events, 256, 100);
        for (int i = 0; i < n; i++) receive(&guests[events[i].data.u32]);
        if (t < sweep) continue;
        sweep = t + RESEND / 4;
        for (struct guest *g = guests; g < guests + count; g++) {
            if (t - g->sent < (g->up ? RESEND : RESEND_REQUEST)) continue;
            if (g->up && sampled) { resent++; send_datagram(g); }
            else if (!g->up) {
                g->sent = t;
                if (!g->lcp.we_are_acked) request_lcp(g);
                else if (!g->ipcp.we_are_acked) request_ipcp(g);
            }
        }
    }
}

static int ascending(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv)
{
    char *paths[64];
    int n_paths = 0;
    if (argc != 7 || (count = atoi(argv[2])) < 1) {
        fprintf(stderr, "usage: manyguests PATH[,PATH...] GUESTS SECONDS PAYLOAD IP PORT\n");
        return 2;
    }
    for (char *path = strtok(argv[1], ","); path && n_paths < 64; path = strtok(NULL, ",")) paths[n_paths++] = path;
    double length = atof(argv[3]);
    payload = atoi(argv[4]);
    port = atoi(argv[6]);
    if (payload < 1 || payload > 1472 || inet_pton(AF_INET, argv[5], destination) != 1) { errno = EINVAL; fail("PAYLOAD or IP"); }
    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files)) { files.rlim_cur = files.rlim_max; setrlimit(RLIMIT_NOFILE, &files); }
    make_fcs_table();
    guests = calloc((size_t)count, sizeof *guests);
    samples = malloc(SAMPLES_MOST * sizeof *samples);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!guests || !samples || epoll < 0) fail("starting");

    double begun = seconds();
    for (int i = 0; i < count; i++) {
        struct epoll_event event = { .events = EPOLLIN, .data.u32 = (uint32_t)i };
        guests[i].fd = connected(paths[i % n_paths]);
        guests[i].sent = seconds();
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, guests[i].fd, &event)) fail("epoll");
        request_lcp(&guests[i]);
    }
    serve(epoll, begun + UP_MOST);
    double all_up = seconds() - begun;

    sampled = 1;
    begun = seconds();
    for (int i = 0; i < count; i++)
        if (guests[i].up) send_datagram(&guests[i]);
    serve(epoll, begun + length);
    double elapsed = seconds() - begun;

    qsort(samples, (size_t)n_samples, sizeof *samples, ascending);
    unsigned long least = ~0UL, most = 0;
    for (struct guest *g = guests; g < guests + count; g++) {
        if (g->trips < least) least = g->trips;
        if (g->trips > most) most = g->trips;
    }
    printf("guests %d up %d in %.3f s; %.0f trips/s; latency ms p50 %.3f p99 %.3f; trips of a guest %lu to %lu; resent %lu\n",
           count, up, all_up, (double)trips / elapsed, n_samples ? samples[n_samples / 2] * 1e3 : 0.0,
           n_samples ? samples[(long)n_samples * 99 / 100] * 1e3 : 0.0, least, most, resent);
    return up != count;
}
