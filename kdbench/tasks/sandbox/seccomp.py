"""Kernel calls that a generated program has no business with, as a classic BPF filter.

Numbers are those of the kernel's syscall tables (`syscall_64.tbl`, `asm-generic/unistd.h`).
"""

from __future__ import annotations

import errno
import platform
import struct

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_*

_BOTH = {
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_open": 434, "pidfd_getfd": 438, "mount_setattr": 442, "memfd_secret": 447,
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
}  # fmt: skip

_REFUSED = {
    "x86_64": {
        **_BOTH, "fork": 57, "vfork": 58, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311,
        "kcmp": 312, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "add_key": 248,
        "request_key": 249, "keyctl": 250, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161,
        "unshare": 272, "setns": 308, "kexec_load": 246, "kexec_file_load": 320, "open_by_handle_at": 304,
        "name_to_handle_at": 303, "personality": 135, "quotactl": 179, "swapon": 167, "swapoff": 168,
        "reboot": 169, "init_module": 175, "finit_module": 313, "delete_module": 176, "acct": 163,
        "shmget": 29, "msgget": 68, "semget": 64, "mq_open": 240, "memfd_create": 319, "socket": 41,
        "fanotify_init": 300, "vmsplice": 278, "syslog": 103, "iopl": 172, "ioperm": 173, "modify_ldt": 154,
    },
    "aarch64": {
        **_BOTH, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272, "bpf": 280,
        "perf_event_open": 241, "userfaultfd": 282, "add_key": 217, "request_key": 218, "keyctl": 219,
        "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268,
        "kexec_load": 104, "kexec_file_load": 294, "open_by_handle_at": 265, "name_to_handle_at": 264,
        "personality": 92, "quotactl": 60, "swapon": 224, "swapoff": 225, "reboot": 142, "init_module": 105,
        "finit_module": 273, "delete_module": 106, "acct": 89, "shmget": 194, "msgget": 186, "semget": 190,
        "mq_open": 180, "memfd_create": 279, "socket": 198, "fanotify_init": 262, "vmsplice": 75,
        "syslog": 116,
    },
}  # fmt: skip

_CLONE = {"x86_64": 56, "aarch64": 220}
_PRCTL = {"x86_64": 157, "aarch64": 167}
_CLONE3 = 435
_CLONE_THREAD = 0x10000
_PR_SET_PDEATHSIG = 1
_X32 = 0x40000000

_LOAD, _EQUAL, _AT_LEAST, _BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


def program(machine: str = "") -> bytes:
    """The filter, as an array of `struct sock_filter`. Raises OSError for a machine that has none.

    New processes are refused, threads are not; clone3 hides its flags behind a pointer, so it is said not to
    exist, and libraries take clone. The signal at the parent's death can't be switched off.
    """
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no filter of kernel calls for {machine}")

    def refuse(code: int = errno.EPERM) -> tuple[int, int, int, int]:
        return (_RETURN, 0, 0, _ERRNO | code)

    lines: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        refuse(),
    ]
    for number in _REFUSED[machine].values():
        lines += [(_EQUAL, 0, 1, number), refuse()]
    lines += [(_EQUAL, 0, 1, _CLONE3), refuse(errno.ENOSYS)]
    lines += [
        (_EQUAL, 0, 3, _CLONE[machine]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_BITS, 2, 0, _CLONE_THREAD),
        refuse(),
        (_EQUAL, 1, 0, _PRCTL[machine]),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_EQUAL, 0, 1, _PR_SET_PDEATHSIG),
        refuse(),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in lines)
