"""Who has a device open: for the sentence that says that it is busy. Looks in /proc and in the usual lock
files."""

import os


def holder_of(path: str) -> str:
    """ "minicom (process 4711)", as far as /proc shows it to us; "" when it does not."""
    real = os.path.realpath(path)
    own = str(os.getpid())
    for pid in _processes():
        if pid == own:
            continue
        directory = f"/proc/{pid}/fd"
        try:
            for fd in os.listdir(directory):
                if os.readlink(f"{directory}/{fd}") == real:
                    return f"{_name(pid)} (process {pid})"
        except OSError:
            continue
    return ""


def lock_holder(path: str, directory: str = "/run/lock") -> str:
    """Who has a lock file for the device (pppd and minicom make them); "" for none, or for one left by the
    dead."""
    name = os.path.join(directory, "LCK.." + os.path.realpath(path).removeprefix("/dev/").replace("/", "_"))
    try:
        with open(name, "rb") as file:
            pid = int(file.read(64).split()[0])
        os.kill(pid, 0)
    except PermissionError:
        pass
    except (OSError, ValueError, IndexError, OverflowError):
        return ""
    if pid == os.getpid() or pid <= 0:
        return ""
    return f"{_name(str(pid))} (process {pid})"


def _processes() -> list[str]:
    try:
        return [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _name(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return "another program"
