"""What it may mean that a process was ended by a signal."""

from __future__ import annotations

import signal

_MAY_MEAN = {
    signal.SIGKILL: "the system does so where memory runs out (see dmesg, and a container's or job's memory limit)",
    signal.SIGBUS: "a file that it had mapped was cut or its disk failed, or /dev/shm is full",
    signal.SIGXCPU: "its limit of CPU time is used up (ulimit -t)",
    signal.SIGXFSZ: "a file grew beyond the limit of sizes (ulimit -f)",
    signal.SIGTERM: "something asked it to end before it could save",
    signal.SIGINT: "something asked it to end before it could save",
    signal.SIGUSR1: "something asked it to end before it could save",
    signal.SIGHUP: "its terminal or connection was closed",
}
_OF_CODE = "a fault in compiled code: a library that does not fit this machine, or a broken device (see dmesg)"


def name_signal(number: int) -> str:
    """Name a signal and say what may have sent it."""
    try:
        found = signal.Signals(number)
    except ValueError:
        return f"signal {number}"
    of_code = (signal.SIGSEGV, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)
    meaning = _OF_CODE if found in of_code else _MAY_MEAN.get(found)
    return f"{found.name}: {meaning}" if meaning else found.name
