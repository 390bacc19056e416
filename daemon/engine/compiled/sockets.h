/* recv(2) and send(2) as the kernel has them.
 *
 * The C library's are points of cancellation (pthreads(7)): in a process with threads, and a worker has some, each costs two
 * atomic operations, which are a hundredth of a small request. Nobody is cancelled here.
 */
#ifndef MINIWSGI_SOCKETS_H
#define MINIWSGI_SOCKETS_H

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(SYS_recvfrom) && defined(SYS_sendto)
static inline ssize_t mw_recv(int fd, void *data, size_t size, int flags) {
    return syscall(SYS_recvfrom, fd, data, size, flags, NULL, NULL);
}

static inline ssize_t mw_send(int fd, const void *data, size_t size, int flags) {
    return syscall(SYS_sendto, fd, data, size, flags, NULL, 0);
}
#else
#define mw_recv recv
#define mw_send send
#endif

#endif
