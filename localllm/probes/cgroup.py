"""The memory and CPU time that control groups leave to this process: v1, v2 and both at once.

A container's ``/proc/meminfo`` shows the host's memory, so a plan made from it is killed by the
container's limit. Every reader is a function of a root folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from localllm.system.sysfiles import read_int, read_text

_V1_UNLIMITED = 1 << 60
"""v1 writes "no limit" as 2^63 rounded down to a page; nobody limits memory to an exbibyte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimit:
    """One limit of one group."""

    limit_bytes: int
    used_bytes: int
    """Charged to the group, less the page cache that the kernel would drop first."""
    file: str
    """The file that holds the limit, as the machine names it."""

    @property
    def room_bytes(self) -> int:
        """What may still be taken under this limit."""
        return max(0, self.limit_bytes - self.used_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """A group's folder, from the process's own up to the root of its hierarchy."""

    folder: Path
    version: int


def memory_limits(root: Path) -> tuple[MemoryLimit, ...]:
    """Return every memory limit over this process, of its own group and of every ancestor."""
    return tuple(limit for group in _groups(root, "memory") for limit in _group_limits(root, group))


def tightest(limits: tuple[MemoryLimit, ...]) -> MemoryLimit | None:
    """Return the limit that leaves the least room, or None without any."""
    return min(limits, key=lambda limit: limit.room_bytes, default=None)


def cpu_quota(root: Path) -> float | None:
    """Return the CPUs that the tightest quota allows (e.g. 1.5), or None without one."""
    quotas = [quota for group in _groups(root, "cpu") if (quota := _group_quota(group)) is not None]
    return min(quotas, default=None)


def swap_limit_bytes(root: Path) -> int | None:
    """Return the least swap that v2 groups allow this process, or None without a limit."""
    limits = [
        limit
        for group in _groups(root, "memory")
        if group.version == 2
        if (limit := read_int(group.folder / "memory.swap.max")) is not None
    ]
    return min(limits, default=None)


def _group_limits(root: Path, group: _Group) -> Iterator[MemoryLimit]:
    if group.version == 2:
        # Above memory.high the kernel throttles the group to a crawl: as good as a limit.
        names = ["memory.max", "memory.high"]
        usage_file, cache_key = "memory.current", "inactive_file"
    else:
        names = ["memory.limit_in_bytes"]
        usage_file, cache_key = "memory.usage_in_bytes", "total_inactive_file"
    for name in names:
        limit = read_int(group.folder / name)
        if limit is None or limit >= _V1_UNLIMITED:
            continue
        charged = read_int(group.folder / usage_file) or 0
        # The charge counts cached files, a mapped model among them; the inactive part goes first.
        cache = _stat(group.folder / "memory.stat", cache_key)
        yield MemoryLimit(
            limit_bytes=limit,
            used_bytes=max(0, charged - cache),
            file=_as_seen(root, group.folder / name),
        )


def _group_quota(group: _Group) -> float | None:
    if group.version == 2:
        quota, _, period = (read_text(group.folder / "cpu.max") or "").partition(" ")
    else:
        quota = read_text(group.folder / "cpu.cfs_quota_us") or ""
        period = read_text(group.folder / "cpu.cfs_period_us") or ""
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:
        return None  # "max", "-1", or no such file
    return int(quota) / int(period)


def _groups(root: Path, controller: str) -> Iterator[_Group]:
    """Yield the groups of this process that govern ``controller``, in both hierarchies."""
    mounts = _mounts(root)
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            mount = mounts.get("") or _usual_v2_mount(root)
            version = 2
        elif controller in controllers.split(","):
            mount = mounts.get(controller) or _Mount(
                folder=root / "sys/fs/cgroup" / controller, subtree="/"
            )
            version = 1
        else:
            continue
        for folder in _ancestors(mount, path):
            yield _Group(folder=folder, version=version)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mount:
    folder: Path
    subtree: str
    """The group at the mount's root: in a container without its own namespace, the container's."""


def _ancestors(mount: _Mount, path: str) -> Iterator[Path]:
    """Yield the existing folders from a group up to the mount's root, the root always included.

    A group outside the process's cgroup namespace shows as ``/../other``: the dots are dropped.
    In a container the path may be the host's and not exist here: the mount's root then answers.
    """
    inside = path
    if mount.subtree != "/" and (path + "/").startswith(mount.subtree + "/"):
        inside = path[len(mount.subtree) :]
    parts = [part for part in PurePosixPath(inside).parts if part not in ("/", "..", ".")]
    for depth in range(len(parts), 0, -1):
        folder = mount.folder.joinpath(*parts[:depth])
        if folder.is_dir():
            yield folder
    yield mount.folder


def _mounts(root: Path) -> dict[str, _Mount]:
    """Return where each v1 controller is mounted, and v2 under the empty name."""
    mounts: dict[str, _Mount] = {}
    for line in (read_text(root / "proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        mount = _Mount(folder=root / _unescape(fields[4]).lstrip("/"), subtree=_unescape(fields[3]))
        names = [""] if kind[0] == "cgroup2" else kind[2].split(",")
        for name in names:
            mounts.setdefault(name, mount)
    return mounts


def _usual_v2_mount(root: Path) -> _Mount:
    hybrid = root / "sys/fs/cgroup/unified"
    return _Mount(folder=hybrid if hybrid.is_dir() else root / "sys/fs/cgroup", subtree="/")


def _unescape(text: str) -> str:
    """Return a path of mountinfo, where a space is ``\\040``."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def _stat(path: Path, key: str) -> int:
    for line in (read_text(path) or "").splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.isdecimal():
            return int(value)
    return 0


def _as_seen(root: Path, path: Path) -> str:
    return "/" + path.relative_to(root).as_posix()
