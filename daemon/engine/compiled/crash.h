/* What a process that crashes shows of its client's bytes: the beginning of what it has received last, as a line of
 * hexadecimal digits in the pipe that its stacks go to (daemon/worker/crashes.py). Who reads it masks it
 * (daemon/master/running/crash_report.py). Nothing of this costs a request more than two stores. Where another process
 * has sent the signal (kill(2)), nothing has crashed: a line says who it was.
 *
 * The handler comes before those that are there, of faulthandler or of the application, and hands the signal on to them:
 * a fault happens once more where it happened (sigaction(2)), what was sent is sent again. Async-signal-safe.
 */
#ifndef MINIWSGI_CRASH_H
#define MINIWSGI_CRASH_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define MW_SHOWN_BYTES 1500 /* with their mark in one write(2) that a pipe does not divide: pipe(7) */
#define MW_RECEIVED_MARK "miniwsgi received "
#define MW_SENT_MARK "miniwsgi was sent it by process "
#define MW_CRASHES 5

static const uint8_t *mw_received;
static size_t mw_received_size;
static int mw_crash_fd = -1;
static const int mw_crashes[MW_CRASHES] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
static struct sigaction mw_before[MW_CRASHES];

static void mw_show_received(void) {
    static char line[sizeof MW_RECEIVED_MARK + 2 * MW_SHOWN_BYTES + 2];
    const uint8_t *data = mw_received;
    size_t size = mw_received_size, used = sizeof MW_RECEIVED_MARK - 1, at;
    if (data == NULL || mw_crash_fd < 0)
        return;
    if (size > MW_SHOWN_BYTES)
        size = MW_SHOWN_BYTES;
    memcpy(line, MW_RECEIVED_MARK, used);
    for (at = 0; at < size; at++) {
        line[used++] = "0123456789abcdef"[data[at] >> 4];
        line[used++] = "0123456789abcdef"[data[at] & 15];
    }
    line[used++] = '\n';
    at = (size_t)write(mw_crash_fd, line, used);
    (void)at; /* there is nobody to be told that the pipe is full */
}

static void mw_show_sender(pid_t pid) {
    char line[sizeof MW_SENT_MARK + 24];
    char digits[24];
    size_t used = sizeof MW_SENT_MARK - 1, count = 0;
    ssize_t written;
    memcpy(line, MW_SENT_MARK, used);
    do
        digits[count++] = (char)('0' + pid % 10);
    while (pid /= 10);
    while (count)
        line[used++] = digits[--count];
    line[used++] = '\n';
    written = mw_crash_fd < 0 ? 0 : write(mw_crash_fd, line, used);
    (void)written;
}

static void mw_on_crash(int number, siginfo_t *info, void *context) {
    int at;
    (void)context;
    for (at = 0; at < MW_CRASHES; at++)
        if (mw_crashes[at] == number)
            sigaction(number, &mw_before[at], NULL);
    if (info->si_code <= 0 && info->si_pid != getpid()) /* sigaction(2); abort(3) is of the process itself */
        mw_show_sender(info->si_pid);
    else
        mw_show_received();
    if (info->si_code <= 0)
        raise(number);
}

/* Once a process; again to name another descriptor. */
static void mw_show_crashes(int fd) {
    struct sigaction action;
    int at, installed = mw_crash_fd >= 0;
    mw_crash_fd = fd;
    if (installed)
        return;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = mw_on_crash;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigemptyset(&action.sa_mask);
    for (at = 0; at < MW_CRASHES; at++)
        sigaction(mw_crashes[at], &action, &mw_before[at]);
}

#endif
