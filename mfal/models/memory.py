"""Memory that this process may still take, and a refusal before it is exhausted."""

from collections.abc import Iterator
from pathlib import Path

import psutil

try:
    import resource
except ImportError:  # there are no such limits on this system
    resource = None  # type: ignore[assignment]

GIB = 2**30


class TooLargeError(MemoryError):
    """A computation that would not fit into memory, refused before it starts."""


def available_bytes() -> int:
    """What can still be taken: of the machine, the control group and RLIMIT_AS.

    Batch systems limit jobs by control groups (version 1 or 2); the free memory of the
    machine says nothing of them. Files in the cache count as free.
    """
    bounds = [psutil.virtual_memory().available, *_address_space(), *control_groups()]
    return max(min(bounds), 0)


def check_bytes(needed: int, *, what: str, advice: str) -> int:
    """`needed`, if so many bytes are there.

    Raises:
        TooLargeError: with what needs how much, what there is, and the advice.
    """
    available = available_bytes()
    if needed > available:
        raise TooLargeError(
            f"{what} needs {needed / GIB:.1f} GiB, {available / GIB:.1f} GiB are free: "
            f"{advice}"
        )
    return needed


def check_memory(n_rows: int, *, what: str, matrices: float = 1.5) -> int:
    """The bytes that `matrices` square matrices of so many rows take.

    Raises:
        TooLargeError: if less than that is available.
    """
    return check_bytes(
        int(8 * matrices * n_rows**2),
        what=f"{what} of {n_rows} rows",
        advice="use fewer low-level labels, leave out forces, or fit the sparse model",
    )


def control_groups(
    mounted: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> Iterator[int]:
    """What the limits of the control groups of this process leave, innermost first."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers == "":
            names = ("memory.max", "memory.current", "inactive_file")
            yield from _limits(mounted, place, names)
        elif "memory" in controllers.split(","):
            names = (
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            )
            yield from _limits(mounted / "memory", place, names)


def _limits(root: Path, place: str, names: tuple[str, str, str]) -> Iterator[int]:
    limit, usage, cached = names
    inner = root / place.lstrip("/")
    for group in (inner, *inner.parents):
        try:
            most = (group / limit).read_text().strip()
            used = int((group / usage).read_text())
            stat = dict(
                line.split()
                for line in (group / "memory.stat").read_text().splitlines()
            )
            if most != "max":
                yield int(most) - used + int(stat.get(cached, 0))
        except (OSError, ValueError):
            pass  # no such group (a container may not show it), or no limit there
        if group == root:
            return


def _address_space() -> Iterator[int]:
    if resource is None:
        return
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        yield soft - psutil.Process().memory_info().vms
