"""What the engine gets follows the control group, whichever version, and the machine where there is none."""

from pathlib import Path

import pytest

from feature_platform.adapters.machine.container_memory import container_memory_bytes, engine_memory_bytes

MIB = 1 << 20


def system(root: Path, groups: str, **limits: str) -> Path:
    """A file system with one process's groups, and limits by path below ``sys/fs/cgroup`` with ``__`` for ``/``."""
    files = {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name.replace('__', '/')}": text for name, text in limits.items()}}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_least_limit_from_the_group_upwards_holds(tmp_path: Path) -> None:
    limits = {"pod__run__memory.max": f"{900 * MIB}\n", "pod__memory.max": f"{700 * MIB}\n", "memory.max": "max\n"}
    assert container_memory_bytes(system(tmp_path, "0::/pod/run\n", **limits)) == 700 * MIB


def test_the_older_control_groups_are_read_too(tmp_path: Path) -> None:
    groups = "5:cpu,cpuacct:/x\n4:memory:/docker/1\n0::/\n"
    limits = {"memory__memory.limit_in_bytes": str(700 * MIB)}  # a container sees its own group as the root
    assert container_memory_bytes(system(tmp_path, groups, **limits)) == 700 * MIB


def test_without_a_limit_the_machine_is_one(tmp_path: Path) -> None:
    unlimited = system(tmp_path, "0::/\n", **{"memory.max": "max\n"})
    assert container_memory_bytes(unlimited) == container_memory_bytes(tmp_path / "nothing") > 256 * MIB


@pytest.mark.parametrize(("container", "engine"), [(100, 64), (700, 222), (4096, 1920), (1 << 20, 4096)])
def test_the_engine_gets_half_of_what_the_process_leaves(
    tmp_path: Path, container: int, engine: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sysconf", lambda name: 1 << 20)  # a machine of a TiB
    assert engine_memory_bytes(system(tmp_path, "0::/\n", **{"memory.max": str(container * MIB)})) == engine * MIB
