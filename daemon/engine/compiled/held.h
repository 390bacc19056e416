/*
 * Bytes that wait for others, and a thread that sends them if nobody else comes to it in time.
 *
 * No Python objects and no interpreter's lock: the thread sends while a call of the application has that. All else here is
 * done by who has the lock. An answer's `state` says whose it is, and whoever changes HELD to SENDING sends it, so that
 * nobody waits for longer than a send takes. The answers of several clients are independent of each other. What a client
 * does not take of a batch the thread tries again to send, until somebody comes to it.
 *
 * Whole answers of different clients are the loop's owner's, who holds them and takes note of what has become of them. A
 * batch is an answer that grows: bytes of one client that come one after the other, by whatever thread serves it. A client
 * has one of both at most.
 *
 * In a child of fork(2) the kernel has cleared all of it (MADV_WIPEONFORK): nothing is held there, and no thread runs.
 */
#ifndef MINIWSGI_HELD_H
#define MINIWSGI_HELD_H

#include <errno.h>
#include <poll.h>
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
    MW_BATCHES = 32, /* at once; what has none is sent as it comes */
    MW_BATCH_BYTES = 32 * 1024,
    MW_SECOND_NS = 1000000000,
};

enum { MW_NO_ANSWER, MW_HELD, MW_SENDING, MW_SENT, MW_FILLING };

typedef struct {
    int state;
    int fd;
    int error; /* of the send: errno, or 0 */
    uint32_t start, size, sent; /* in `bytes` */
} mw_answer;

typedef struct {
    int timer;
    long retry_ns; /* the thread: until it tries again what a client has not taken */
    int runs; /* the thread, in this process */
    int ends;
    int spent; /* the timer: the thread has been woken, and may have looked at the answers already */
    int count;
    uint32_t used;
    uint32_t batches; /* a bit for each that is in use */
    pthread_t thread;
    mw_answer answers[MW_HELD_ANSWERS + MW_BATCHES]; /* those that grow are the last */
    char bytes[MW_HELD_BYTES + MW_BATCHES * MW_BATCH_BYTES];
} mw_held;

/* Whether a send has found the client gone. */
static int mw_has_failed(const mw_answer *answer)
{
    return answer->error && answer->error != EAGAIN && answer->error != EINTR;
}

/* Whether the client of an answer that is the caller's may take more of it later. */
static int mw_may_go_on(const mw_answer *answer)
{
    return answer->sent < answer->size && !mw_has_failed(answer);
}

/* Send what is left of an answer that is the caller's; whether there is still more. */
static int mw_send_own(mw_held *held, mw_answer *answer)
{
    const char *left = held->bytes + answer->start + answer->sent;
    ssize_t sent = send(answer->fd, left, answer->size - answer->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    answer->error = sent < 0 ? errno : 0;
    answer->sent += sent < 0 ? 0 : (uint32_t)sent;
    int more = mw_may_go_on(answer);
    __atomic_store_n(&answer->state, MW_SENT, __ATOMIC_RELEASE);
    return more;
}

/* Have an answer that is in this state, to send it. False: it is in another one. */
static int mw_may_send(mw_answer *answer, int state)
{
    return __atomic_compare_exchange_n(&answer->state, &state, MW_SENDING, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Send an answer, unless somebody else has begun to; whether there is still more, which this send has left. */
static int mw_send_answer(mw_held *held, mw_answer *answer)
{
    return mw_may_send(answer, MW_HELD) && mw_send_own(held, answer);
}

/* Send all that is held; whether there is still more of a batch. */
static int mw_send_all(mw_held *held)
{
    int more = 0;
    for (int at = 0; at < MW_HELD_ANSWERS; at++)
        mw_send_answer(held, &held->answers[at]);
    for (int at = MW_HELD_ANSWERS; at < MW_HELD_ANSWERS + MW_BATCHES; at++)
        more |= mw_send_answer(held, &held->answers[at]);
    return more;
}

/* Try again what their clients have not taken; whether that is still so. */
static int mw_send_again(mw_held *held)
{
    int more = 0;
    for (int at = MW_HELD_ANSWERS; at < MW_HELD_ANSWERS + MW_BATCHES; at++) {
        mw_answer *batch = &held->answers[at];
        if (!mw_may_send(batch, MW_SENT))
            continue;
        if (mw_may_go_on(batch))
            more |= mw_send_own(held, batch);
        else
            __atomic_store_n(&batch->state, MW_SENT, __ATOMIC_RELEASE);
    }
    return more;
}

static void *mw_send_late(void *argument)
{
    mw_held *held = argument;
    struct pollfd timer = {held->timer, POLLIN, 0};
    struct timespec retry = {held->retry_ns / MW_SECOND_NS, held->retry_ns % MW_SECOND_NS};
    uint64_t times;
    int more = 0;
    prctl(PR_SET_NAME, "mw-held");
    while (!__atomic_load_n(&held->ends, __ATOMIC_ACQUIRE)) {
        int late = !more || ppoll(&timer, 1, &retry, NULL);
        if (late) {
            if (read(held->timer, &times, sizeof times) < 0)
                continue;
            __atomic_store_n(&held->spent, 1, __ATOMIC_SEQ_CST);
        }
        more = mw_send_again(held);
        if (late) /* what this leaves is tried again only after a while */
            more |= mw_send_all(held);
    }
    return NULL;
}

static void mw_set_timer(mw_held *held, long nanoseconds)
{
    struct itimerspec when = {{0, 0}, {nanoseconds / MW_SECOND_NS, nanoseconds % MW_SECOND_NS}};
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
static mw_held *mw_held_new(long retry_ns)
{
    mw_held *held = mmap(NULL, sizeof *held, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (held == MAP_FAILED)
        return NULL;
    held->timer = -1;
    held->retry_ns = retry_ns;
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

/* So long from now the thread sends, if not earlier. To be called when something has just become HELD.
 *
 * It can be seen before the timer is set or looked at: either the thread finds it, or it will be woken again. A timer that
 * is set already is for something older, unless this is `alone`: then it may be put off.
 */
static void mw_will_send(mw_held *held, int alone, long late_ns)
{
    if (__atomic_exchange_n(&held->spent, 0, __ATOMIC_SEQ_CST) || alone)
        mw_set_timer(held, late_ns);
}

/* Which answer it has become; -1: there is no room. So long after the first one the thread sends. */
static int mw_hold(mw_held *held, int fd, const char *data, size_t size, long late_ns)
{
    if (!held->runs || held->count == MW_HELD_ANSWERS || size > MW_HELD_BYTES - held->used)
        return -1;
    mw_answer *answer = &held->answers[held->count];
    answer->fd = fd;
    answer->start = held->used;
    answer->size = (uint32_t)size;
    answer->sent = 0;
    memcpy(held->bytes + held->used, data, size);
    held->used += (uint32_t)size;
    __atomic_store_n(&answer->state, MW_HELD, __ATOMIC_SEQ_CST);
    mw_will_send(held, !held->count && !held->batches, late_ns);
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

/* Which answer is to grow, for this descriptor, and is the caller's to put bytes into; -1: all are taken. */
static int mw_open_batch(mw_held *held, int fd)
{
    if (!held->runs || !~held->batches)
        return -1;
    int bit = __builtin_ctz(~held->batches), at = MW_HELD_ANSWERS + bit;
    mw_answer *batch = &held->answers[at];
    held->batches |= 1u << bit;
    batch->fd = fd;
    batch->start = MW_HELD_BYTES + (uint32_t)bit * MW_BATCH_BYTES;
    batch->size = batch->sent = 0;
    batch->state = MW_FILLING;
    return at;
}

/* Take a batch, to put so many bytes into it. False: there is no room, or it is sent. */
static int mw_grow(mw_held *held, int at, size_t size)
{
    mw_answer *batch = &held->answers[at];
    int state = MW_HELD;
    return size <= MW_BATCH_BYTES - batch->size
        && __atomic_compare_exchange_n(&batch->state, &state, MW_FILLING, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

/* Put bytes into a batch that was taken, which has room for them. */
static void mw_fill(mw_held *held, int at, const char *data, size_t size)
{
    mw_answer *batch = &held->answers[at];
    memcpy(held->bytes + batch->start + batch->size, data, size);
    batch->size += (uint32_t)size;
}

/* A batch that was taken is held again. */
static void mw_hold_batch(mw_held *held, int at, int is_new, long late_ns)
{
    __atomic_store_n(&held->answers[at].state, MW_HELD, __ATOMIC_SEQ_CST);
    mw_will_send(held, is_new && !held->count && !(held->batches & ~(1u << (at - MW_HELD_ANSWERS))), late_ns);
}

/* Send a batch that was taken. */
static void mw_send_filled(mw_held *held, int at)
{
    mw_send_own(held, &held->answers[at]);
}

/* Afterwards it is sent. */
static void mw_send_batch(mw_held *held, int at)
{
    mw_send_answer(held, &held->answers[at]);
    mw_await_sent(&held->answers[at]);
}

/* How much of it its client has not taken, if it is sent: what the thread then tries. */
static uint32_t mw_left_of_batch(mw_held *held, int at)
{
    mw_answer *batch = &held->answers[at];
    mw_await_sent(batch);
    return __atomic_load_n(&batch->state, __ATOMIC_ACQUIRE) == MW_SENT ? batch->size - batch->sent : 0;
}

/* Afterwards it is the caller's, sent or not: the thread does not touch it, nor its descriptor. */
static void mw_take_batch(mw_held *held, int at)
{
    mw_answer *batch = &held->answers[at];
    for (;;) {
        int state = __atomic_load_n(&batch->state, __ATOMIC_ACQUIRE);
        if (state == MW_NO_ANSWER || state == MW_FILLING) /* a child of fork(2) has none */
            return;
        if (state == MW_SENDING)
            sched_yield();
        else if (__atomic_compare_exchange_n(&batch->state, &state, MW_FILLING, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return;
    }
}

/* A batch that was taken is no more: nobody needs to know what has become of it. */
static void mw_close_batch(mw_held *held, int at)
{
    held->answers[at].state = MW_NO_ANSWER;
    held->batches &= ~(1u << (at - MW_HELD_ANSWERS));
}

#endif
