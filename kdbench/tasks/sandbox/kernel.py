"""Calls of the Linux kernel that Python 3.11 has no name for."""

from __future__ import annotations

import ctypes
import os
import struct

NEW_MOUNTS, NEW_UTS, NEW_IPC = 0x00020000, 0x04000000, 0x08000000
NEW_USER, NEW_PIDS, NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000

BIND, RECURSIVE, PRIVATE, NO_SUID, NO_DEVICES = 0x1000, 0x4000, 0x40000, 2, 4
_DETACH = 2
_ATTRIBUTES = 1 | 2 | 4  # MOUNT_ATTR_RDONLY, _NOSUID, _NODEV
_AT_RECURSIVE, _AT_FDCWD = 0x8000, -100
_MOUNT_SETATTR = 442
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_PDEATHSIG, _NO_NEW_PRIVS, _SECCOMP, _BOUNDING_DROP = 1, 38, 22, 24
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITIES = 64

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _prctl(option: int, *values: int | ctypes.c_void_p) -> int:
    padded = [*values, *[0] * (4 - len(values))]
    return int(_libc.prctl(option, *(v if isinstance(v, ctypes.c_void_p) else ctypes.c_ulong(v)
                                     for v in padded)))  # fmt: skip


def unshare(flags: int, what: str) -> None:
    _checked(_libc.unshare(ctypes.c_int(flags)), what)


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    done = _libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()
    )
    _checked(done, f"mount of {source} on {target}")


def lock(folder: str) -> None:
    """Everything mounted under `folder` becomes read-only, without devices or set-user-ID programs."""
    attributes = struct.pack("QQQQ", _ATTRIBUTES, 0, 0, 0)
    done = _libc.syscall(
        ctypes.c_long(_MOUNT_SETATTR), ctypes.c_long(_AT_FDCWD), folder.encode(),
        ctypes.c_long(_AT_RECURSIVE), attributes, ctypes.c_long(len(attributes)),
    )  # fmt: skip
    _checked(done, "read-only mounts (mount_setattr, Linux 5.12)")


def enter(folder: str) -> None:
    """`folder` becomes the root, and nothing leads back to the old one."""
    os.chdir(folder)
    done = _libc.syscall(ctypes.c_long(_PIVOT_ROOT[os.uname().machine]), b".", b".")
    _checked(done, "pivot_root")
    _checked(_libc.umount2(b".", _DETACH), "umount of the old root")
    os.chdir("/")


def die_with_parent(signal: int) -> None:
    _checked(_prctl(_PDEATHSIG, signal), "PR_SET_PDEATHSIG")


def empty_bounding_set() -> None:
    """No program that is started from here on can have a capability."""
    for capability in range(_CAPABILITIES):
        _prctl(_BOUNDING_DROP, capability)  # those that the kernel doesn't know are refused


def drop_capabilities() -> None:
    header = struct.pack("Ii", 0x20080522, 0)
    none = bytes(24)
    done = _libc.syscall(ctypes.c_long(_CAPSET[os.uname().machine]), header, none)
    _checked(done, "capset")


def filter_calls(program: bytes) -> None:
    """No new privileges from here on, and only the calls that `program` lets through."""
    _checked(_prctl(_NO_NEW_PRIVS, 1), "PR_SET_NO_NEW_PRIVS")
    buffer = ctypes.create_string_buffer(program, len(program))

    class Filter(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    whole = Filter(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    _checked(_prctl(_SECCOMP, 2, ctypes.cast(ctypes.byref(whole), ctypes.c_void_p)), "seccomp")
