"""What this machine has."""

import os


def cores() -> int:
    """How many cores this process may use."""
    return len(core_numbers())


def core_numbers() -> set[int]:
    """The cores that this process may use: on Linux those of its affinity mask, elsewhere all."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))
