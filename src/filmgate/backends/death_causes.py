"""What killed a process, as far as the kernel says."""

from contextlib import suppress
from pathlib import Path

OUT_OF_RAM = "the machine ran out of memory: close other programs, or choose smaller settings"


def count_oom_kills(system: Path = Path("/")) -> int | None:
    """Return how many processes the kernel killed for lack of memory; None: it does not say.

    Those of our control group (version 2 or 1), else those of the machine.
    """
    counts = []
    with suppress(OSError):
        for line in (system / "proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            mount = system / "sys/fs/cgroup" / controllers
            name = "memory.oom_control" if controllers else "memory.events"
            # In a container its own group may be mounted in place of the root.
            found = [_read_counter(mount / place / name) for place in (group.lstrip("/"), "")]
            counts += [count for count in found if count is not None][:1]
    return sum(counts) if counts else _read_counter(system / "proc/vmstat")


def _read_counter(path: Path) -> int | None:
    """Return the number behind `oom_kill` in a file of the kernel, None if it has none."""
    try:
        words = path.read_text().split()
        return int(words[words.index("oom_kill") + 1])
    except (OSError, ValueError, IndexError):
        return None


_WINDOWS_CODES = {
    0xC0000005: "access violation",
    0xC0000017: "no memory",
    0xC000001D: "illegal instruction",
    0xC0000094: "integer division by zero",
    0xC00000FD: "stack overflow",
    0xC000012D: "commit limit",
    0xC0000135: "a DLL was not found",
    0xC000013A: "Ctrl-C",
    0xC0000374: "heap corruption",
    0xC0000409: "abort, or stack buffer overrun",
}


def explain_exit_code(code: int | None) -> str:
    """Return an exit code as text, with the name of what ended the process on Windows."""
    if code is None or code < 1 << 31:
        return f"exit code {code}"
    name = _WINDOWS_CODES.get(code, "")
    return f"exit code {code:#010X}".replace("0X", "0x") + (f" ({name})" if name else "")


def is_out_of_memory(cause: str, hint: str) -> bool:
    """Return whether a process ended so because the machine had no more memory."""
    return OUT_OF_RAM in hint or cause.endswith(("(no memory)", "(commit limit)"))


def explain_signal(name: str, before: int | None, after: int | None) -> str:
    """Return who sent a signal, as far as it is known; "" for those a process causes itself.

    `before` and `after` count the kernel's out-of-memory kills.
    """
    if name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"):
        return "a user or another program stopped it"
    if name != "SIGKILL":
        return ""
    if before is None or after is None:
        return "who killed it is unknown: a user, another program, or the kernel for lack of memory"
    if after > before:
        return f"the kernel killed it: {OUT_OF_RAM}"
    return "a user or another program killed it, not the kernel for lack of memory"
