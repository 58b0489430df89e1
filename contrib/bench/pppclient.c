/*
 * pppclient: the guest of the benchmark, a PPP client that must not be the bottleneck.
 *
 * In:  a tty (or "-" for descriptor 0) with a PPP server at its other end, and a command.
 * Out: a TUN interface "ppp0" with the address that the server gave, so that the kernel's own
 *      TCP/IP is the guest; the command runs once the link is up and its status is the exit status.
 *
 *     cc -O2 -o pppclient pppclient.c
 *     unshare -rn ./pppclient /dev/pts/7 -- iperf3 -c 10.0.2.2
 *
 * -m MTU (1500)   -v shows the negotiation.   Status 3: no link, or the link was ended.
 *
 * What makes it fast: frames are scanned eight octets at a time (for the flag and the escape), the
 * FCS is taken eight octets a step, everything that waits is read before anything is parsed, up to
 * 64 packets go out in one write, and a full line never stops reading from it.
 * It does not know: authentication, compression, echo keepalive, IPv6, anything but Linux.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/route.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* RFC 1661 and 1332 */
enum protocol { PPP_IP = 0x0021, PPP_IPCP = 0x8021, PPP_LCP = 0xC021 };
enum code { CONF_REQ = 1, CONF_ACK, CONF_NAK, CONF_REJ, TERM_REQ, TERM_ACK, CODE_REJ, PROT_REJ, ECHO_REQ, ECHO_REP };
enum { OPT_ACCM = 2, OPT_MAGIC = 5, OPT_PFC = 7, OPT_ACFC = 8, OPT_ADDRESS = 3, OPT_DNS1 = 129, OPT_DNS2 = 131 };
enum { ESCAPE = 0x7D, FLAG = 0x7E, FCS_GOOD = 0xF0B8, MAX_FRAME = 4096, OUT_SIZE = 1 << 19 };

struct options { uint8_t octets[64]; int length; };
struct control { enum protocol protocol; struct options wanted; int we_are_acked, they_are_acked; uint8_t id; };

static struct control lcp = { .protocol = PPP_LCP }, ipcp = { .protocol = PPP_IPCP };
static int tty, tun = -1, mtu = 1500, verbose, header_compressed, ended;
static uint8_t peer_address[4];
static uint16_t fcs_table[8][256];
static uint8_t out[OUT_SIZE];
static size_t out_start, out_end;
static struct { unsigned long in, out, bad; } frames;
static volatile sig_atomic_t child_changed;

static void fail(const char *what) { fprintf(stderr, "pppclient: %s: %s\n", what, strerror(errno)); exit(3); }

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- FCS-16 (RFC 1662, appendix C), eight octets a step ---- */

static void make_fcs_tables(void)
{
    for (int i = 0; i < 256; i++) {
        uint16_t fcs = (uint16_t)i;
        for (int bit = 0; bit < 8; bit++)
            fcs = (uint16_t)(fcs & 1 ? fcs >> 1 ^ 0x8408 : fcs >> 1);
        fcs_table[0][i] = fcs;
    }
    for (int k = 1; k < 8; k++)
        for (int i = 0; i < 256; i++)
            fcs_table[k][i] = (uint16_t)(fcs_table[k - 1][i] >> 8 ^ fcs_table[0][fcs_table[k - 1][i] & 255]);
}

static uint16_t fcs16(uint16_t fcs, const uint8_t *p, size_t n)
{
    for (; n >= 8; p += 8, n -= 8)
        fcs = fcs_table[7][p[0] ^ (fcs & 255)] ^ fcs_table[6][p[1] ^ fcs >> 8] ^ fcs_table[5][p[2]] ^
              fcs_table[4][p[3]] ^ fcs_table[3][p[4]] ^ fcs_table[2][p[5]] ^ fcs_table[1][p[6]] ^ fcs_table[0][p[7]];
    while (n--)
        fcs = (uint16_t)(fcs >> 8 ^ fcs_table[0][(fcs ^ *p++) & 255]);
    return fcs;
}

/* ---- framing ---- */

#define EACH(octet) (0x0101010101010101ULL * (octet))
static inline uint64_t zero_octets(uint64_t w) { return (w - EACH(0x01)) & ~w & EACH(0x80); }

/* How many octets at p need no escape: exact, or rounded down by the caller's own octet-wise step. */
static inline size_t plain_run(const uint8_t *p, size_t n)
{
    size_t i = 0;
    for (uint64_t w; i + 8 <= n; i += 8) {
        memcpy(&w, p + i, 8);
        if (zero_octets(w ^ EACH(ESCAPE)) | zero_octets(w ^ EACH(FLAG)))
            break;
    }
    while (i < n && p[i] != ESCAPE && p[i] != FLAG)
        i++;
    return i;
}

static uint8_t *escape(uint8_t *to, const uint8_t *p, size_t n, int controls_too)
{
    while (n) {
        if (controls_too) {
            if (*p < 0x20 || *p == ESCAPE || *p == FLAG) { *to++ = ESCAPE; *to++ = *p++ ^ 0x20; }
            else *to++ = *p++;
            n--;
            continue;
        }
        size_t run = plain_run(p, n);
        memcpy(to, p, run);
        to += run; p += run; n -= run;
        if (n) { *to++ = ESCAPE; *to++ = *p++ ^ 0x20; n--; }
    }
    return to;
}

static void flush(void)
{
    while (out_start < out_end) {
        ssize_t n = write(tty, out + out_start, out_end - out_start);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        if (n < 0) fail("the line");
        out_start += (size_t)n;
    }
    out_start = out_end = 0;
}

static void put_frame(enum protocol protocol, const uint8_t *p, size_t n)
{
    int plain = protocol != PPP_LCP && header_compressed, controls_too = protocol != PPP_IP;
    uint8_t header[4] = { 0xFF, 0x03, (uint8_t)(protocol >> 8), (uint8_t)protocol };
    uint8_t *start = header, *to = out + out_end, tail[2];
    if (plain && protocol < 256) start += 3;                /* RFC 1661 6.5 and 6.6 */
    else if (plain) start += 2;
    uint16_t fcs = fcs16(0xFFFF, start, (size_t)(header + 4 - start));
    fcs = (uint16_t)~fcs16(fcs, p, n);
    tail[0] = (uint8_t)fcs; tail[1] = (uint8_t)(fcs >> 8);
    if (out_end == 0) *to++ = FLAG;
    to = escape(to, start, (size_t)(header + 4 - start), controls_too);
    to = escape(to, p, n, controls_too);
    to = escape(to, tail, 2, controls_too);
    *to++ = FLAG;
    out_end = (size_t)(to - out);
    frames.out++;
}

/* ---- control protocols ---- */

static void send_control(struct control *c, int code, int id, const uint8_t *data, size_t n)
{
    uint8_t packet[MAX_FRAME] = { (uint8_t)code, (uint8_t)id, (uint8_t)((n + 4) >> 8), (uint8_t)(n + 4) };
    memcpy(packet + 4, data, n);
    if (verbose) fprintf(stderr, "pppclient: sent %04x code %d id %d, %zu octets\n", c->protocol, code, id, n);
    put_frame(c->protocol, packet, n + 4);
    flush();
}

static void request(struct control *c) { send_control(c, CONF_REQ, ++c->id, c->wanted.octets, (size_t)c->wanted.length); }

static uint8_t *find(struct options *o, int type)
{
    for (int i = 0; i < o->length; i += o->octets[i + 1])
        if (o->octets[i] == type) return o->octets + i;
    return NULL;
}

static int understood(struct control *c, int type)
{
    if (c == &ipcp) return type == OPT_ADDRESS;
    return type == 1 || type == OPT_ACCM || type == OPT_MAGIC || type == OPT_PFC || type == OPT_ACFC;
}

/* A Configure-Request of theirs: reject what is not understood, else Nak a missing address, else acknowledge. */
static void judge(struct control *c, int id, const uint8_t *data, size_t n)
{
    uint8_t rejected[256];
    size_t bad = 0, at;
    for (at = 0; at + 2 <= n && data[at + 1] >= 2 && at + data[at + 1] <= n; at += data[at + 1]) {
        if (!understood(c, data[at]) && bad + data[at + 1] <= sizeof rejected) {
            memcpy(rejected + bad, data + at, data[at + 1]);
            bad += data[at + 1];
        } else if (c == &ipcp && data[at + 1] == 6)
            memcpy(peer_address, data + at + 2, 4);
    }
    if (bad) { send_control(c, CONF_REJ, id, rejected, bad); return; }
    if (c == &ipcp && !memcmp(peer_address, "\0\0\0\0", 4)) {      /* the classic slirp announces 0.0.0.0 */
        static const uint8_t ours[6] = { OPT_ADDRESS, 6, 10, 0, 2, 2 };
        send_control(c, CONF_NAK, id, ours, 6);
        return;
    }
    if (c == &lcp)
        for (at = 0; at + 2 <= n && data[at + 1] >= 2; at += data[at + 1])
            if (data[at] == OPT_ACFC) header_compressed = 1;
    send_control(c, CONF_ACK, id, data, n);
    c->they_are_acked = 1;
}

/* A Nak carries the values to use, a Reject the options to leave out. */
static void revise(struct control *c, int code, const uint8_t *data, size_t n)
{
    for (size_t at = 0; at + 2 <= n && data[at + 1] >= 2 && at + data[at + 1] <= n; at += data[at + 1]) {
        uint8_t *mine = find(&c->wanted, data[at]);
        if (!mine || mine[1] != data[at + 1]) continue;
        if (code == CONF_NAK) { memcpy(mine, data + at, mine[1]); continue; }
        int size = mine[1];
        memmove(mine, mine + size, (size_t)(c->wanted.octets + c->wanted.length - mine - size));
        c->wanted.length -= size;
    }
    request(c);
}

static void receive_control(struct control *c, const uint8_t *p, size_t n)
{
    size_t length = n < 4 ? 0 : (size_t)(p[2] << 8 | p[3]);
    if (length < 4 || length > n) return;
    const uint8_t *data = p + 4;
    n = length - 4;
    if (verbose) fprintf(stderr, "pppclient: rcvd %04x code %d id %d, %zu octets\n", c->protocol, p[0], p[1], n);
    switch (p[0]) {
    case CONF_REQ: judge(c, p[1], data, n); break;
    case CONF_ACK: if (p[1] == c->id) c->we_are_acked = 1; break;
    case CONF_NAK: case CONF_REJ: if (p[1] == c->id) revise(c, p[0], data, n); break;
    case TERM_REQ: send_control(c, TERM_ACK, p[1], data, 0); ended = 1; break;
    case ECHO_REQ:
        if (c == &lcp && n >= 4 && n < MAX_FRAME - 4) {
            uint8_t reply[MAX_FRAME];
            uint8_t *magic = find(&lcp.wanted, OPT_MAGIC);
            memcpy(reply, data, n);
            if (magic) memcpy(reply, magic + 2, 4); else memset(reply, 0, 4);
            send_control(c, ECHO_REP, p[1], reply, n);
        }
    }
}

static void receive_frame(uint8_t *p, size_t n)
{
    if (n < 4) return;
    if (fcs16(0xFFFF, p, n) != FCS_GOOD) { frames.bad++; return; }
    n -= 2;
    frames.in++;
    if (p[0] == 0xFF && p[1] == 0x03) { p += 2; n -= 2; }
    unsigned protocol = n && p[0] & 1 ? p[0] : n > 1 ? (unsigned)(p[0] << 8 | p[1]) : 0;
    size_t skip = n && p[0] & 1 ? 1 : 2;
    if (n < skip) return;
    if (protocol == PPP_IP) {
        if (tun >= 0 && write(tun, p + skip, n - skip) < 0 && verbose) perror("pppclient: packet refused by the kernel");
    } else if (protocol == PPP_LCP) receive_control(&lcp, p + skip, n - skip);
    else if (protocol == PPP_IPCP) receive_control(&ipcp, p + skip, n - skip);
    else if (lcp.we_are_acked && lcp.they_are_acked && n < MAX_FRAME - 8) {
        uint8_t reject[MAX_FRAME] = { (uint8_t)(protocol >> 8), (uint8_t)protocol };
        memcpy(reject + 2, p + skip, n - skip);
        send_control(&lcp, PROT_REJ, ++lcp.id, reject, n - skip + 2);
    }
}

/* ---- the two descriptors ---- */

/* Undo the escapes in place; returns the new length. An escape at the very end is an abort: 0. */
static size_t unescape(uint8_t *p, size_t n)
{
    uint8_t *to = memchr(p, ESCAPE, n), *from = to, *end = p + n;
    if (!to) return n;
    while (from < end) {
        if (++from == end) return 0;
        *to++ = *from++ ^ 0x20;
        uint8_t *next = memchr(from, ESCAPE, (size_t)(end - from));
        size_t run = (size_t)((next ? next : end) - from);
        memmove(to, from, run);
        to += run; from += run;
    }
    return (size_t)(to - p);
}

static void read_line(void)
{
    static uint8_t in[1 << 17];
    static size_t kept;
    ssize_t n = 0;
    size_t got = kept;
    /* A pty gives 4,095 octets a read at most. */
    while (got + 4096 <= sizeof in && (n = read(tty, in + got, sizeof in - got)) > 0) {
        got += (size_t)n;
        if (n < 1024 || got > 16384) break;
    }
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) { fprintf(stderr, "pppclient: the line was closed\n"); exit(3); }
    uint8_t *at = in, *end = in + got, *flag = memchr(in + kept, FLAG, got - kept);
    for (; flag; flag = memchr(at, FLAG, (size_t)(end - at))) {
        if (flag > at) receive_frame(at, unescape(at, (size_t)(flag - at)));
        at = flag + 1;
    }
    kept = (size_t)(end - at);
    if (kept > sizeof in / 2) kept = 0;                     /* no flag in all that: not PPP */
    memmove(in, at, kept);
}

static void read_tun(void)
{
    static uint8_t packet[65536];
    for (int i = 0; i < 64 && out_end < OUT_SIZE / 2; i++) {
        ssize_t n = read(tun, packet, sizeof packet);
        if (n <= 0) break;
        if (packet[0] >> 4 == 4) put_frame(PPP_IP, packet, (size_t)n);
    }
    flush();
}

static void open_tun(void)
{
    struct ifreq r;
    struct rtentry route;
    struct sockaddr_in address = { .sin_family = AF_INET };
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tun < 0) fail("/dev/net/tun");
    memset(&r, 0, sizeof r);
    strcpy(r.ifr_name, "ppp0");
    r.ifr_flags = IFF_TUN | IFF_NO_PI;
    if (ioctl(tun, TUNSETIFF, &r)) fail("making ppp0 (run it in a network namespace: unshare -rn)");
    memcpy(&address.sin_addr, find(&ipcp.wanted, OPT_ADDRESS) + 2, 4);
    memcpy(&r.ifr_addr, &address, sizeof address);
    if (ioctl(s, SIOCSIFADDR, &r)) fail("setting the address");
    memcpy(&address.sin_addr, peer_address, 4);
    memcpy(&r.ifr_dstaddr, &address, sizeof address);
    if (ioctl(s, SIOCSIFDSTADDR, &r)) fail("setting the peer's address");
    r.ifr_mtu = mtu;
    if (ioctl(s, SIOCSIFMTU, &r)) fail("setting the MTU");
    r.ifr_flags = IFF_UP | IFF_RUNNING | IFF_POINTOPOINT;
    if (ioctl(s, SIOCSIFFLAGS, &r)) fail("bringing ppp0 up");
    strcpy(r.ifr_name, "lo");
    r.ifr_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK;
    ioctl(s, SIOCSIFFLAGS, &r);
    memset(&route, 0, sizeof route);
    route.rt_flags = RTF_UP;
    route.rt_dev = "ppp0";
    route.rt_dst.sa_family = route.rt_genmask.sa_family = AF_INET;
    if (ioctl(s, SIOCADDRT, &route)) fail("setting the default route");
    close(s);
}

static void open_tty(const char *name)
{
    struct termios t;
    tty = strcmp(name, "-") ? open(name, O_RDWR | O_NOCTTY) : 0;
    if (tty < 0) fail(name);
    if (!tcgetattr(tty, &t)) {
        cfmakeraw(&t);
        t.c_cflag |= CLOCAL | CREAD;
        tcsetattr(tty, TCSANOW, &t);
    }
    fcntl(tty, F_SETFL, O_NONBLOCK);
    fcntl(tty, F_SETFD, FD_CLOEXEC);
}

static void want(struct control *c, int type, int size)
{
    uint8_t *o = c->wanted.octets + c->wanted.length;
    o[0] = (uint8_t)type; o[1] = (uint8_t)size;
    if (type == OPT_MAGIC && c == &lcp && getrandom(o + 2, 4, 0) != 4) fail("getrandom");
    c->wanted.length += size;
}

static int report(int status)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    fprintf(stderr, "pppclient: %lu frames in, %lu out, %lu bad FCS, %.2f s of CPU\n", frames.in, frames.out, frames.bad,
            (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6);
    return status;
}

/* Requests are repeated each second until both sides have acknowledged; true when the network is there. */
static int negotiated(double *next)
{
    int lcp_up = lcp.we_are_acked && lcp.they_are_acked;
    if (lcp_up && ipcp.we_are_acked && ipcp.they_are_acked) return 1;
    double t = seconds();
    if (t >= *next || (lcp_up && ipcp.id == 0)) {
        *next = t + 1;
        if (!lcp.we_are_acked) request(&lcp);
        else if (lcp_up && !ipcp.we_are_acked) request(&ipcp);
    }
    return 0;
}

static void on_child(int signal) { (void)signal; child_changed = 1; }

static pid_t start(char **command)
{
    signal(SIGCHLD, on_child);
    pid_t child = fork();
    if (child) return child;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    execvp(command[0], command);
    fail(command[0]);
    return 0;
}

static int run(char **command)
{
    double begun = seconds(), next = 0;
    pid_t child = 0;
    for (int status; !ended;) {
        if (tun < 0 && negotiated(&next)) {
            char a[16], b[16];
            open_tun();
            inet_ntop(AF_INET, find(&ipcp.wanted, OPT_ADDRESS) + 2, a, 16);
            inet_ntop(AF_INET, peer_address, b, 16);
            fprintf(stderr, "pppclient: up in %.3f s, local %s peer %s\n", seconds() - begun, a, b);
            if (*command) child = start(command);
        }
        if (tun < 0 && seconds() - begun > 30) { fprintf(stderr, "pppclient: no link within 30 s\n"); return 3; }
        int full = out_end > out_start;
        struct pollfd q[2] = { { tty, (short)(POLLIN | (full ? POLLOUT : 0)), 0 }, { full ? -1 : tun, POLLIN, 0 } };
        poll(q, 2, 50);
        if (q[0].revents & ~POLLOUT) read_line();
        if (out_end > out_start) flush();
        if (tun >= 0 && out_end == out_start) read_tun();
        if (child_changed && waitpid(child, &status, WNOHANG) == child) {
            send_control(&lcp, TERM_REQ, ++lcp.id, (const uint8_t *)"", 0);
            return report(WIFEXITED(status) ? WEXITSTATUS(status) : 3);
        }
    }
    fprintf(stderr, "pppclient: the server ended the link\n");
    return report(3);
}

int main(int argc, char **argv)
{
    for (int c; (c = getopt(argc, argv, "+m:v")) != -1;) {
        if (c == 'm') mtu = atoi(optarg);
        else if (c == 'v') verbose = 1;
        else return 2;
    }
    if (optind >= argc) { fprintf(stderr, "usage: pppclient [-v] [-m MTU] TTY|- [-- COMMAND ...]\n"); return 2; }
    make_fcs_tables();
    open_tty(argv[optind++]);
    if (optind < argc && !strcmp(argv[optind], "--")) optind++;
    want(&lcp, OPT_ACCM, 6); want(&lcp, OPT_MAGIC, 6); want(&lcp, OPT_PFC, 2); want(&lcp, OPT_ACFC, 2);
    want(&ipcp, OPT_ADDRESS, 6); want(&ipcp, OPT_DNS1, 6); want(&ipcp, OPT_DNS2, 6);
    return run(argv + optind);
}
