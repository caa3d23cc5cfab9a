"""A room with walls, in which generated programs run against their tests.

    kdbench ──> warden ──> candidate   the generated program; sees questions, never tests
                     └───> judge       the tests; sees plain values, runs none of the program

`runs` asks a warden to run a program. The warden (`warden`, `kernel`, `seccomp`) builds a root of its own
and puts two processes behind the same walls, each alone in its world. They share one pipe (`wire`). The
`candidate` answers calls on it; the `judge` makes them, compares, and alone holds the channel that a verdict
comes back on.

What a program may try, and what it gets:

- network: it has no interface and no address family (a network namespace, and `socket` is refused);
- files: nothing of the machine is there but Python and the libraries that it loads, read only; it writes to
  a memory disk of its own, of limited size. No home, no /proc, no environment of the caller;
- processes: it starts none, sees none, and can signal none but itself (a PID namespace each);
- memory, processor, time, threads, file and message sizes: limits, by the kernel;
- privileges: an unprivileged user without capabilities, who can't gain any; calls for namespaces, mounts,
  tracing, keys, modules and the like are refused.
- a forged verdict: exit codes, output and patches of `assert` or builtins count for nothing, since tests run
  elsewhere. Expected values never enter its process. What it returns arrives as plain data of built-in types,
  so that an object that is equal to everything is equal to nothing.

Not defended against: flaws of the kernel, a program that knows the tests by heart, and side channels of time.

Linux only, x86-64 or AArch64, kernel 5.12 or newer; as root, or as any user where unprivileged user
namespaces are allowed. Where a wall can't be had nothing runs (`walls`).
"""
