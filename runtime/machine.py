"""What this machine offers: cores, memory, disk, accelerators - within what the process may use of them."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.plural import counted

_SYS_CPU = Path("/sys/devices/system/cpu")
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Gpu:
    """An accelerator that the installed build can use. Memory in bytes (0 where the driver does not say)."""

    name: str
    description: str
    memory_free: int
    memory_total: int


@dataclass(frozen=True)
class Machine:
    """A snapshot. `cores` are physical and usable by this process; memory and disk in bytes."""

    system: str
    processor: str
    cores: int
    logical_cores: int
    memory_total: int
    memory_available: int
    disk_free: int
    gpus: tuple[Gpu, ...]

    @property
    def device(self) -> str:
        """One line to print beside a measurement."""
        if self.gpus:
            return ", ".join(gpu.description or gpu.name for gpu in self.gpus)
        return f"{self.processor}, {counted(self.cores, 'core')}"


def probe(folder: Path | None = None, *, gpus: bool = True) -> Machine:
    """Look at the machine now; `folder` is where files would be written. `gpus` loads the C library to ask it."""
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        processor=processor_name(),
        cores=physical_cores(),
        logical_cores=len(_usable_cpus()),
        memory_total=memory_total(),
        memory_available=memory_available(),
        disk_free=disk_free(folder if folder is not None else Path.cwd()),
        gpus=find_gpus() if gpus else (),
    )


def physical_cores() -> int:
    """Physical cores within this process's affinity and its cgroup's CPU quota; at least 1.

    Threads beyond these share arithmetic units and slow a decode down.
    """
    if sys.platform == "darwin":
        # The efficiency cores make a decode wait for them: count the fast ones.
        for key in ("hw.perflevel0.physicalcpu", "hw.physicalcpu"):
            value = _sysctl(key)
            if value:
                return value
    return max(1, min(_distinct_cores(_usable_cpus(), _SYS_CPU), _quota_cores(_CGROUPS)))


def memory_total() -> int:
    """Bytes of memory that this process may ever use."""
    if sys.platform == "darwin":
        return _sysctl("hw.memsize")
    total = _meminfo().get("MemTotal", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min([total, *(limit for limit, _ in _memory_limits(_CGROUPS))])


def memory_available() -> int:
    """Bytes that can be taken now without swapping, within the cgroup's limit and this process's own."""
    if sys.platform == "darwin":
        return _macos_available()
    free = _meminfo().get("MemAvailable", memory_total())
    own = [] if (room := address_room()) is None else [room]
    return max(0, min([free, *own, *(limit - used for limit, used in _memory_limits(_CGROUPS))]))


def address_room() -> int | None:
    """Bytes of addresses that this process may still take (`ulimit -v`); None without a limit."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    used = _read(Path("/proc/self/statm")).split()[:1]
    return max(0, limit - (int(used[0]) * os.sysconf("SC_PAGE_SIZE") if used else 0))


def disk_free(folder: Path) -> int:
    """Bytes free where `folder` is, or where its nearest existing parent is."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def processor_name() -> str:
    """The processor's name as the system tells it."""
    if sys.platform == "darwin":
        return _command_output(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.machine()
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def find_gpus() -> tuple[Gpu, ...]:
    """Accelerators of the installed llama.cpp build; none without the package."""
    from models.errors import MissingPackageError
    from runtime.backends.llama_library import llama_library

    try:
        devices = llama_library().devices()
    except MissingPackageError:
        return ()
    return tuple(Gpu(d.name, d.description, d.memory_free, d.memory_total) for d in devices if d.is_gpu)


def _usable_cpus() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _distinct_cores(cpus: Iterable[int], root: Path) -> int:
    """Cores behind `cpus`: two hardware threads of one core list the same siblings."""
    seen = set()
    for cpu in cpus:
        topology = root / f"cpu{cpu}" / "topology"
        siblings = _read(topology / "core_cpus_list") or _read(topology / "thread_siblings_list")
        seen.add(siblings.strip() or str(cpu))
    return len(seen)


def _groups(root: Path, controller: str) -> list[Path]:
    """This process's cgroup folders for `controller` and their parents: of version 2 right below `root`, of version 1
    below `root/controller`."""
    found = []
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" or controller in controllers.split(","):
            place = root if number == "0" else root / controller
            found.append(place)
            for part in Path(path).parts[1:]:
                place = place / part
                found.append(place)
    return found


def _quota_cores(root: Path) -> int:
    """Whole cores that the CPU quota allows; a large number without one."""
    best = 1 << 20
    for group in _groups(root, "cpu"):
        quota, _, period = _read(group / "cpu.max").strip().partition(" ")
        if not quota:
            quota, period = (_read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            best = min(best, max(1, int(quota) // int(period)))
    return best


def _memory_limits(root: Path) -> list[tuple[int, int]]:
    """(limit, bytes in use that cannot be reclaimed) of every cgroup above this process that has a limit."""
    found = []
    for group in _groups(root, "memory"):
        for limit_file, used_file, reclaimable in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, used = _read(group / limit_file).strip(), _read(group / used_file).strip()
            if limit.isdigit() and used.isdigit():
                found.append((int(limit), max(0, int(used) - _statistic(group, reclaimable))))
    return found


def _statistic(group: Path, name: str) -> int:
    for line in _read(group / "memory.stat").splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdigit():
            return int(value)
    return 0


def _meminfo() -> dict[str, int]:
    """/proc/meminfo in bytes; empty where there is none."""
    values = {}
    for line in _read(Path("/proc/meminfo")).splitlines():
        key, _, rest = line.partition(":")
        number = rest.split()[:1]
        if number and number[0].isdigit():
            values[key] = int(number[0]) * 1024
    return values


def _macos_available() -> int:
    """Free, inactive, speculative and purgeable pages of `vm_stat`."""
    page, pages = 4096, 0
    for line in _command_output(["vm_stat"]).splitlines():
        if "page size of" in line:
            page = int(line.split("page size of")[1].split()[0])
        key, _, value = line.partition(":")
        if key in ("Pages free", "Pages inactive", "Pages speculative", "Pages purgeable"):
            pages += int(value.strip(" .") or 0)
    return page * pages


def _sysctl(key: str) -> int:
    value = _command_output(["sysctl", "-n", key])
    return int(value) if value.isdigit() else 0


def _command_output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
