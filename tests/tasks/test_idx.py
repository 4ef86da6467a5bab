import gzip

import numpy as np
import pytest

from hwprof.errors import InputError
from hwprof.tasks.idx import read
from tests.tasks.files import idx

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_is_read_packed_or_not(tmp_path, pack):
    (tmp_path / "file").write_bytes(pack(idx(IMAGES)))
    np.testing.assert_array_equal(read(tmp_path / "file", 3), IMAGES)


BROKEN = {
    "empty": (b"", "starts with nothing; an IDX file of unsigned bytes in 3 dimensions starts with 00000803"),
    "floats": (idx(IMAGES, bytes([0, 0, 13, 3])), "starts with 00000d03; an IDX file"),
    "matrix": (idx(IMAGES[0]), "starts with 00000802; an IDX file"),
    "half a header": (idx(IMAGES)[:10], "ends within its header"),
    "truncated": (idx(IMAGES)[:-1], r"is truncated: its header says 24 bytes, for shape \(2, 3, 4\)"),
    "too long": (idx(IMAGES) + b"x", "continues after its data"),
    "enormous": (bytes([0, 0, 8, 3]) + b"\xff" * 12, "more than 1073741824 are not read"),
    "truncated gzip": (gzip.compress(idx(IMAGES), mtime=0)[:-9], "cannot read the IDX file"),
    "broken gzip": (gzip.compress(idx(IMAGES), mtime=0)[:10] + b"\xff" * 30, "cannot read the IDX file"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_file_is_refused_in_one_line(tmp_path, fault):
    content, message = BROKEN[fault]
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / "file", 3)
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the IDX file .*absent.*: No such file"):
        read(tmp_path / "absent", 3)
