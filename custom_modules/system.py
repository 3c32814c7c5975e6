"""What Linux has and other systems lack, with what does in its place: the one module that asks for it.

It is looked for where it is used, and no name of a system decides, since a container may lack ``/proc`` too.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import resource
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from custom_modules.programs import ask

_PR_SET_PDEATHSIG = 1
_MOST_OPEN_FILES = 10_240
"""``OPEN_MAX`` of macOS, whose ``setrlimit`` takes no more, whatever the hard limit says."""
_SECONDS = 10.0
"""That a program of the system has to answer."""
_WATCH_SECONDS = 0.5


def errnos(*names: str) -> frozenset[int]:
    """Return the numbers of those errors that this system knows: macOS has no ``EREMOTEIO``."""
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


def usable_cores() -> int:
    """Return how many cores this process may use; all of the machine's where the system binds none."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    """Return what the processor is called, or its architecture where nothing says."""
    for line in _content("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return _answer("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()


def thread_count() -> int | None:
    """Return how many threads this process has, those of libraries among them; None where the system does not say."""
    try:
        return len(list(Path("/proc/self/task").iterdir()))
    except OSError:
        return None


def to_disk(descriptor: int) -> None:
    """Put a file's content, or a folder's names, on the disk. ``fsync`` of macOS leaves them in the disk's own memory.

    Raises:
        OSError: the disk refuses.
    """
    full_sync = getattr(fcntl, "F_FULLFSYNC", None)
    if full_sync is not None:
        with suppress(OSError):  # of a file system that has none: that of a server
            fcntl.fcntl(descriptor, full_sync)
            return
    os.fsync(descriptor)


def resident_bytes() -> int:
    """Return the memory of this process that is resident."""
    found = _status("VmRSS")
    if found is not None:
        return found
    import psutil

    return int(psutil.Process().memory_info().rss)


def peak_resident_bytes() -> int:
    """Return the most that `resident_bytes` was since the start or `forget_peak`; elsewhere than on Linux since the
    start only."""
    found = _status("VmHWM")
    if found is not None:
        return found
    # Not where /proc is: there it would be no less than the parent process had.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def forget_peak() -> None:
    """Have `peak_resident_bytes` begin anew, where the system allows it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def open_files() -> int:
    """Return how many files this process may have open."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if allowed == resource.RLIM_INFINITY else allowed


def allow_open_files() -> int:
    """Raise that limit, and that of the processes started from now on, to what the system allows; return it."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (ValueError, OSError):
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(allowed, _MOST_OPEN_FILES), most))
    return open_files()


def limit_memory(size: int) -> None:
    """Have this process refused more bytes of memory than ``size``, where the system can: macOS has no such limit."""
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def end_with(parent: int) -> None:
    """Have this process killed when the one that started it ends, however that ends.

    Args:
        parent: its process id; where it has already ended, this process is killed at once.
    """
    try:
        prctl = ctypes.CDLL(None).prctl
    except AttributeError:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    else:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def machine_id() -> str:
    """Return what names this machine and no other; empty where nothing does."""
    return _content("/etc/machine-id")


def boot_id() -> str:
    """Return what names the time since the machine was started; empty where nothing does."""
    return _content("/proc/sys/kernel/random/boot_id") or _answer("sysctl", "-n", "kern.bootsessionuuid")


def process_namespace() -> str:
    """Return where this process's id means it: each container of Linux has its own ids. Empty where there is one."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def process_started(process: int) -> str | None:
    """Return when a process was started, to be compared with another answer of this machine.

    None for one that is not there, or that has ended and is not yet waited for.
    """
    if _content("/proc/self/stat"):
        state, *fields = _content(f"/proc/{process}/stat").rpartition(")")[2].split() or ["X"]
        return None if state in "XZ" else fields[18]
    state, _, started = _answer("ps", "-o", "state=,lstart=", "-p", str(process)).partition(" ")
    return None if state[:1] in ("", "Z") else started.strip()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _status(field: str) -> int | None:
    """Return bytes of ``/proc/self/status``; None where it is not there."""
    for line in _content("/proc/self/status").splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    return None


def _content(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _answer(*command: str) -> str:
    """Return what a program of the system says, in no language but C's; empty where it is not there or fails."""
    answer = ask(("env", "LC_ALL=C", "TZ=UTC", *command), _SECONDS)
    return "" if answer.problem else answer.output.strip()
