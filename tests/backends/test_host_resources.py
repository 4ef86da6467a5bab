from __future__ import annotations

import os

import pytest

from hwprof.backends import host_resources
from hwprof.builder import GraphBuilder
from hwprof.device import Device
from hwprof.errors import EnvironmentUnfitError
from hwprof.graph import Graph, Tensor

GIB = 1 << 30


@pytest.fixture
def root(tmp_path):
    """Writes files below a root of the file system: path -> text."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(text))
        return tmp_path

    return write


MEMINFO = {"proc/meminfo": f"MemTotal: 9 kB\nMemAvailable:   {4 * GIB // 1024} kB\n"}


def test_zero_threads_are_those_that_the_process_may_use():
    assert host_resources.threads(Device("d", "b", threads=0)) == len(os.sched_getaffinity(0))
    assert host_resources.threads(Device("d", "b", threads=3)) == 3


def test_memory_is_what_the_system_has_left(root):
    assert host_resources.available_bytes(root(MEMINFO)) == 4 * GIB


def test_a_limit_of_cgroup_version_2_counts_with_its_page_cache_given_back(root):
    group = "sys/fs/cgroup/a/b"
    files = {
        "proc/self/cgroup": "0::/a/b\n",
        f"{group}/memory.max": 2 * GIB,
        f"{group}/memory.current": GIB + 300,
        f"{group}/memory.stat": "anon 5\ninactive_file 100\n",
    }
    assert host_resources.available_bytes(root({**MEMINFO, **files})) == GIB - 200


def test_the_limit_of_a_group_above_counts_too(root):
    files = {
        "proc/self/cgroup": "0::/a/b\n",
        "sys/fs/cgroup/a/b/memory.max": "max",
        "sys/fs/cgroup/a/b/memory.current": 7,
        "sys/fs/cgroup/a/memory.max": GIB,
        "sys/fs/cgroup/a/memory.current": 10,
    }
    assert host_resources.available_bytes(root({**MEMINFO, **files})) == GIB - 10


def test_a_limit_of_cgroup_version_1_counts_and_its_huge_number_means_none(root):
    group = "sys/fs/cgroup/memory/x"
    files = {
        "proc/self/cgroup": "4:cpu:/y\n3:memory:/x\n0::/\n",
        f"{group}/memory.limit_in_bytes": GIB,
        f"{group}/memory.usage_in_bytes": 100,
        "sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712,
        "sys/fs/cgroup/memory/memory.usage_in_bytes": 100,
    }
    assert host_resources.available_bytes(root({**MEMINFO, **files})) == GIB - 100


def test_where_no_file_tells_nothing_is_refused(root, tmp_path):
    assert host_resources.available_bytes(tmp_path) is None


def test_activations_count_as_long_as_they_are_needed():
    """[100] floats = 400 bytes. x and a and b live when b is made; then x is gone, and c = a + b joins a and b."""
    b = GraphBuilder("g")
    x = b.input((100,))
    first = b.relu(x)
    second = b.unary("Exp", first)
    assert host_resources.peak_activation_bytes(b.build(b.relu(b.add(first, second)))) == 1200


def test_weights_count_once_for_each_copy():
    graph = Graph((), (), (), weights=(Tensor("w", "float32", (250_000_000_000_000,)),), name="huge")
    with pytest.raises(EnvironmentUnfitError, match=r"'huge' needs about 2000000\.0 GB"):
        host_resources.require_memory(graph, weight_copies=2)
    host_resources.require_memory(graph, weight_copies=0)


def test_the_last_cache_is_the_largest_that_the_system_names(tmp_path):
    assert host_resources.last_cache_bytes(tmp_path) is None
    for i, size in enumerate(("48K", "2048K", "105M")):
        folder = tmp_path / f"sys/devices/system/cpu/cpu0/cache/index{i}"
        folder.mkdir(parents=True)
        (folder / "size").write_text(f"{size}\n")
    assert host_resources.last_cache_bytes(tmp_path) == 105 * 2**20


def test_products_saturate_on_x86_without_vnni():
    assert host_resources.saturates(["sse4_2", "avx2", "fma"])
    assert not host_resources.saturates(["avx2", "avx_vnni"])
    assert not host_resources.saturates(["avx2", "avx512f", "avx512_vnni"])
    assert not host_resources.saturates(["asimd", "asimddp"])
