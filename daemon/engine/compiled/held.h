/*
 * Answers that wait for each other, and a thread that sends them if nobody else comes to it in time.
 *
 * No Python objects and no interpreter's lock: the thread sends while a call of the application has that. One thread, the
 * owner of the loop, holds answers and takes note of what has become of them; an answer's `state` says whose it is, and
 * whoever changes HELD to SENDING sends it, so that nobody waits for longer than a send takes. The answers of several
 * clients are independent of each other; a client has one at most.
 *
 * In a child of fork(2) the kernel has cleared all of it (MADV_WIPEONFORK): nothing is held there, and no thread runs.
 */
#ifndef MINIWSGI_HELD_H
#define MINIWSGI_HELD_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18 /* madvise(2), Linux 4.14 */
#endif

enum {
    MW_HELD_ANSWERS = 256,
    MW_HELD_BYTES = 256 * 1024,
    MW_HELD_STACK_BYTES = 256 * 1024,
};

enum { MW_NO_ANSWER, MW_HELD, MW_SENDING, MW_SENT };

typedef struct {
    int state;
    int fd;
    int error; /* of the send: errno, or 0 */
    uint32_t start, size, sent; /* in `bytes` */
} mw_answer;

typedef struct {
    int timer;
    int runs; /* the thread, in this process */
    int ends;
    int spent; /* the timer: the thread has been woken, and may have looked at the answers already */
    int count;
    uint32_t used;
    pthread_t thread;
    mw_answer answers[MW_HELD_ANSWERS];
    char bytes[MW_HELD_BYTES];
} mw_held;

/* Send an answer, unless somebody else has begun to. */
static void mw_send_answer(mw_held *held, mw_answer *answer)
{
    int state = MW_HELD;
    if (!__atomic_compare_exchange_n(&answer->state, &state, MW_SENDING, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        return;
    ssize_t sent = send(answer->fd, held->bytes + answer->start, answer->size, MSG_NOSIGNAL | MSG_DONTWAIT);
    answer->error = sent < 0 ? errno : 0;
    answer->sent = sent < 0 ? 0 : (uint32_t)sent;
    __atomic_store_n(&answer->state, MW_SENT, __ATOMIC_RELEASE);
}

static void *mw_send_late(void *argument)
{
    mw_held *held = argument;
    uint64_t times;
    prctl(PR_SET_NAME, "mw-held");
    while (!__atomic_load_n(&held->ends, __ATOMIC_ACQUIRE)) {
        if (read(held->timer, &times, sizeof times) < 0)
            continue;
        __atomic_store_n(&held->spent, 1, __ATOMIC_SEQ_CST);
        for (int at = 0; at < MW_HELD_ANSWERS; at++)
            mw_send_answer(held, &held->answers[at]);
    }
    return NULL;
}

static void mw_set_timer(mw_held *held, long nanoseconds)
{
    struct itimerspec when = {{0, 0}, {nanoseconds / 1000000000, nanoseconds % 1000000000}};
    timerfd_settime(held->timer, 0, &when, NULL);
}

/* Start the thread, which gets no signals. False: errno says why. */
static int mw_start_thread(mw_held *held)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, MW_HELD_STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errno = pthread_create(&held->thread, &attributes, mw_send_late, held);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    held->runs = !errno;
    return held->runs;
}

/* NULL: it cannot be had here, now. To be called in the process that is to send. */
static mw_held *mw_held_new(void)
{
    mw_held *held = mmap(NULL, sizeof *held, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (held == MAP_FAILED)
        return NULL;
    held->timer = -1;
    if (!madvise(held, sizeof *held, MADV_WIPEONFORK)) {
        held->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
        if (held->timer >= 0 && mw_start_thread(held))
            return held;
    }
    if (held->timer >= 0)
        close(held->timer);
    munmap(held, sizeof *held);
    return NULL;
}

/* What is still held is not sent. */
static void mw_held_free(mw_held *held)
{
    if (held->runs) {
        __atomic_store_n(&held->ends, 1, __ATOMIC_RELEASE);
        mw_set_timer(held, 1);
        pthread_join(held->thread, NULL);
        close(held->timer);
    }
    munmap(held, sizeof *held);
}

/* Which answer it has become; -1: there is no room. So long after the first one the thread sends.
 *
 * It can be seen before the timer is set or looked at: either the thread finds it, or it will be woken again.
 */
static int mw_hold(mw_held *held, int fd, const char *data, size_t size, long late_ns)
{
    if (!held->runs || held->count == MW_HELD_ANSWERS || size > MW_HELD_BYTES - held->used)
        return -1;
    mw_answer *answer = &held->answers[held->count];
    answer->fd = fd;
    answer->start = held->used;
    answer->size = (uint32_t)size;
    memcpy(held->bytes + held->used, data, size);
    held->used += (uint32_t)size;
    __atomic_store_n(&answer->state, MW_HELD, __ATOMIC_SEQ_CST);
    if (__atomic_exchange_n(&held->spent, 0, __ATOMIC_SEQ_CST) || !held->count)
        mw_set_timer(held, late_ns);
    return held->count++;
}

static void mw_await_sent(mw_answer *answer)
{
    while (__atomic_load_n(&answer->state, __ATOMIC_ACQUIRE) == MW_SENDING)
        sched_yield();
}

/* Afterwards each answer is sent, or not to be sent. */
static void mw_send_held(mw_held *held)
{
    for (int at = 0; at < held->count; at++)
        mw_send_answer(held, &held->answers[at]);
    for (int at = 0; at < held->count; at++)
        mw_await_sent(&held->answers[at]);
}

/* An answer is not to be sent any more, and its descriptor not to be used. */
static void mw_forget_answer(mw_held *held, int at)
{
    mw_answer *answer = &held->answers[at];
    int state = MW_HELD;
    if (!__atomic_compare_exchange_n(&answer->state, &state, MW_SENT, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        mw_await_sent(answer);
}

/* Nobody needs to know any more what has become of them: the room is free. */
static void mw_clear_held(mw_held *held)
{
    held->count = 0;
    held->used = 0;
}

#endif
