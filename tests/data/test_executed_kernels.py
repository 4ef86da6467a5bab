from pathlib import Path

import pytest

from hwprof.data import executed_kernels
from hwprof.data.executed_kernels import KeptKernels
from hwprof.device import Device
from hwprof.interfaces import ExecutedKernel, Work

DEVICE, VERSIONS = Device("any", "onnxruntime"), {"onnxruntime": "1.0"}
KERNELS = [
    ExecutedKernel("Conv", (0, 1), how="blocked"), ExecutedKernel("ReorderOutput", (), "y"),
    ExecutedKernel("Add", (2,), work=Work("sum", {"macs": 3.0})),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    kept = KeptKernels.read(tmp_path, DEVICE, VERSIONS)
    kept.keep("a", KERNELS)
    kept.write()
    return tmp_path


def test_kernels_are_read_as_they_were_kept(folder: Path):
    assert KeptKernels.read(folder, DEVICE, VERSIONS).kernels == {"a": KERNELS}


def test_a_folder_in_which_nothing_was_kept_stays_as_it_is(tmp_path: Path):
    KeptKernels.read(tmp_path, DEVICE, VERSIONS).write()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("device", "versions"), [(Device("other", "onnxruntime", threads=2), VERSIONS), (DEVICE, {"onnxruntime": "2.0"})]
)
def test_kernels_of_another_device_or_version_do_not_count(folder: Path, device, versions):
    assert not KeptKernels.read(folder, device, versions).kernels


def test_kernels_that_other_code_told_do_not_count(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(executed_kernels, "identity_of_code", lambda _places: "changed")
    assert not KeptKernels.read(folder, DEVICE, VERSIONS).kernels


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2]])
def test_a_damaged_file_counts_as_absent(folder: Path, damage):
    (path,) = folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert not KeptKernels.read(folder, DEVICE, VERSIONS).kernels
