"""Opening what lies beneath a directory, and nothing outside of it, whatever a name or a symbolic link says.

The kernel does it (openat2(2), RESOLVE_BENEATH, since Linux 5.6). Where it has no such call, or a filter of system
calls does not let it through, the path is walked name by name, each opened with O_NOFOLLOW in the one before.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from ..unpatched import os

try:
    import ctypes
except ImportError:  # a Python without libffi
    _HAS_CTYPES = False
else:
    _HAS_CTYPES = True

OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK  # a FIFO is not waited for
MAX_LINKS = 40  # as path_resolution(7) has it
_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC  # on the way

_OPENAT2 = 437  # the same on all architectures but alpha
_NO_MAGIC_LINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08
_AT_FDCWD = -100
_TRIES = 8  # EAGAIN: something was renamed meanwhile, and the kernel cannot tell whether ".." is still beneath

# Directory, name, whether symbolic links that stay beneath it are followed; a descriptor. Raises OSError: ELOOP and
# EXDEV for what is not to be followed, or leads outside.
Open = Callable[[int, bytes, bool], int]


def _by_kernel() -> Open | None:
    """openat2(2); None: it cannot be had here."""
    if not _HAS_CTYPES:
        return None

    class OpenHow(ctypes.Structure):
        _fields_ = [(name, ctypes.c_uint64) for name in ("flags", "mode", "resolve")]

    try:
        call = ctypes.CDLL(None, use_errno=True).syscall
    except (OSError, AttributeError):
        return None
    call.restype = ctypes.c_long
    get_errno, size = ctypes.get_errno, ctypes.c_size_t(ctypes.sizeof(OpenHow))
    number = ctypes.c_long(_OPENAT2)
    plain = OpenHow(OPEN, 0, _BENEATH | _NO_MAGIC_LINKS | _NO_SYMLINKS)
    following = OpenHow(OPEN, 0, _BENEATH | _NO_MAGIC_LINKS)
    hows = ctypes.byref(plain), ctypes.byref(following)

    def open_beneath(directory: int, name: bytes, follow: bool) -> int:
        for _ in range(_TRIES):
            fd: int = call(number, ctypes.c_int(directory), ctypes.c_char_p(name), hows[follow], size)
            if fd >= 0:
                return fd
            code = get_errno()
            if code not in {errno.EAGAIN, errno.EINTR}:
                raise OSError(code, os.strerror(code))
        return walk(directory, name, follow)

    try:
        os.close(open_beneath(_AT_FDCWD, b".", False))
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EPERM, errno.EINVAL}:
            return None
    return open_beneath


def walk(directory: int, name: bytes, follow: bool) -> int:
    """The same name by name, without a call of the kernel's for it."""
    todo = [part for part in name.split(b"/") if part not in {b"", b"."}][::-1]
    way = [os.dup(directory)]  # from the directory down to where we are
    links = 0
    is_open = False  # the last one can be read from: those on the way are opened as places only
    try:
        while todo:
            part = todo.pop()
            if part == b"..":
                if len(way) == 1:
                    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
                os.close(way.pop())
                is_open = False
                continue
            last = not todo
            try:
                fd = os.open(part, (OPEN if last else _PLACE) | os.O_NOFOLLOW, dir_fd=way[-1])
            except OSError as error:
                if error.errno not in {errno.ELOOP, errno.ENOTDIR}:
                    raise
                target = _link(part, way[-1])
                if target is None:
                    raise
                links += 1
                if not follow or links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
                if target.startswith(b"/"):
                    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV)) from None
                todo += [step for step in target.split(b"/") if step not in {b"", b"."}][::-1]
            else:
                way.append(fd)
                is_open = last
        return way.pop() if is_open else os.open(b".", OPEN | os.O_DIRECTORY, dir_fd=way[-1])
    finally:
        for fd in way:
            os.close(fd)


def _link(name: bytes, directory: int) -> bytes | None:
    """Where a symbolic link leads; None: it is none."""
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError:
        return None


open_beneath: Open = _by_kernel() or walk
