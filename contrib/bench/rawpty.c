/*
 * rawpty: what a pseudo-terminal carries at most, with nothing on it but two C processes and no protocol.
 *
 *     rawpty SECONDS [out|in]
 *
 * Out: for each way, or the one that is named, megabits a second and octets a read. "out" is out of the guest: the slave is written and the
 *      master is read; "in" the other way round. Both ends write and read 64 KB at a time, and block.
 */
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static char octets[1 << 16];

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void measure(const char *way, int to, int from, double length)
{
    pid_t writer = fork();
    if (writer < 0) exit(2);
    if (!writer) {
        while (write(to, octets, sizeof octets) > 0) { }
        _exit(1);
    }
    double begun = seconds(), elapsed = 0, total = 0;
    long reads = 0;
    while (elapsed < length) {
        ssize_t n = read(from, octets, sizeof octets);
        if (n <= 0) break;
        total += (double)n;
        reads++;
        elapsed = seconds() - begun;
    }
    kill(writer, SIGKILL);
    waitpid(writer, NULL, 0);
    printf("%s %.0f Mbit/s, %.0f octets a read\n", way, total * 8 / 1e6 / elapsed, total / (double)reads);
}

int main(int argc, char **argv)
{
    double length = argc > 1 ? atof(argv[1]) : 3;
    for (int into = 0; into < 2; into++) {
        if (argc > 2 && strcmp(argv[2], into ? "in" : "out")) continue;
        int master, slave;
        struct termios raw;
        if (openpty(&master, &slave, NULL, NULL, NULL)) { perror("rawpty"); return 2; }
        tcgetattr(slave, &raw);
        cfmakeraw(&raw);
        tcsetattr(slave, TCSANOW, &raw);
        measure(into ? "in" : "out", into ? master : slave, into ? slave : master, length);
        fflush(stdout);
        close(master);
        close(slave);
    }
    return 0;
}
