"""Growing arrays: plain .npy files that can be cut back to what is known to be whole."""

from pathlib import Path

import numpy as np
import pytest

from mgf_fairseq.extract.npy import GrowingArray


@pytest.mark.parametrize("tail", [(), (3,), (2, 3)])
def test_numpy_reads_what_was_appended(tmp_path: Path, tail: tuple[int, ...]) -> None:
    values = np.arange(5 * int(np.prod(tail)), dtype=np.float16).reshape(5, *tail)
    array = GrowingArray(tmp_path / "a.npy", tail, "float16")
    array.append(values[:2])
    array.append(values[2:2])
    array.append(values[2:])
    array.close()
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), values)


def test_what_follows_the_known_rows_is_dropped(tmp_path: Path) -> None:
    array = GrowingArray(tmp_path / "a.npy", (2,), "int64")
    array.append(np.ones((7, 2), np.int64))
    array.sync()
    again = GrowingArray(tmp_path / "a.npy", (2,), "int64", rows=3)
    again.append(np.zeros((1, 2), np.int64))
    again.close()
    assert np.load(tmp_path / "a.npy").tolist() == [[1, 1]] * 3 + [[0, 0]]
    assert (tmp_path / "a.npy").stat().st_size == 128 + 4 * 16


def test_lost_rows_and_other_shapes_are_refused(tmp_path: Path) -> None:
    array = GrowingArray(tmp_path / "a.npy", (2,), "float32")
    with pytest.raises(ValueError, match="does not fit float32"):
        array.append(np.zeros((1, 3), np.float32))
    with pytest.raises(ValueError, match="float64"):
        array.append(np.zeros((1, 2)))
    array.append(np.zeros((2, 2), np.float32))
    array.close()
    with pytest.raises(OSError, match=r"a\.npy: damaged, fewer than 3 rows"):
        GrowingArray(tmp_path / "a.npy", (2,), "float32", rows=3)
