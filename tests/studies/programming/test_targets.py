"""Damaged and hostile files of target conductances."""

from __future__ import annotations

import io
import os
import pickle

import numpy as np
import pytest

from hvae_mnn.errors import InputError
from hvae_mnn.studies.programming.targets import find_targets


def npy(shape, dtype="<f8", fortran=False, data=b"", version=(1, 0)):
    """The bytes of a .npy file with any claims about its array."""
    file = io.BytesIO()
    header = {"descr": dtype, "fortran_order": fortran, "shape": shape}
    {(1, 0): np.lib.format.write_array_header_1_0, (2, 0): np.lib.format.write_array_header_2_0}[version](file, header)
    return file.getvalue() + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy((10**9, 10**9)), r"its shape is \(1000000000, 1000000000\) of float64, for which it has 0 bytes"),
        (npy((3,), data=bytes(16)), "for which it has 16 bytes"),
        (npy((1,), data=bytes(16)), "for which it has 16 bytes"),
        (npy((-1, -2), data=bytes(16)), "its shape is"),
        (npy((2,), "|O", data=bytes(16)), "it holds object, not numbers"),
        (npy((2,), "<c16", data=bytes(32)), "it holds complex128, not numbers"),
        (npy((2,), "<U2", data=bytes(16)), "it holds <U2, not numbers"),
        (npy((1,), [("a", "<f8"), ("b", "<i8")], data=bytes(16)), "not numbers"),
        (npy((2, 1, 1), data=bytes(16)), r"holds float64 of shape \(2, 1, 1\)"),
        (npy((), data=bytes(8)), r"holds float64 of shape \(\)"),
        (npy((0,)), r"holds float64 of shape \(0,\)"),
        (npy((2,), data=np.array([1e-5, np.nan]).tobytes()), "row 1, column 2: nan is not a conductance"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535, "cannot be read"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{", "cannot be read"),
        (b"\x93NUMPY\x03\x00\x10\x00\x00\x00", r"it has version \(3, 0\) of the format"),
        (b"PK\x03\x04" + bytes(100), "cannot be read"),
        (pickle.dumps(np.zeros(2)), "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_a_npy_file_is_believed_nothing(tmp_path, content, message):
    path = tmp_path / "t.npy"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        find_targets(path, None, None, 0)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path))


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", "<i8", "|u1"])
def test_tables_of_any_order_and_numbers(tmp_path, dtype, version):
    values = np.arange(1, 7).reshape(2, 3)
    for fortran in (False, True):
        data = values.astype(dtype).tobytes(order="F" if fortran else "C")
        (tmp_path / "t.npy").write_bytes(npy((2, 3), dtype, fortran, data, version))
        array = find_targets(tmp_path / "t.npy", None, None, 0).arrays["t"]
        assert array.dtype == np.float64
        assert array.flags.c_contiguous
        assert np.array_equal(array, values)


@pytest.mark.parametrize("text", ["1e-5,nan\n", "1e-5,1e999\n", "inf"])
def test_a_csv_file_of_what_is_not_finite(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match="is not a conductance"):
        find_targets(tmp_path / "t.csv", None, None, 0)


def test_targets_in_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "t.npy")
    (tmp_path / "t.csv").symlink_to("/dev/zero")
    for name, message in (
        ("t.npy", "is a pipe"),
        ("t.csv", "is a pipe, a socket or a device"),
        ("x" * 300 + ".csv", "File name too long"),
    ):
        with pytest.raises(InputError, match=message):
            find_targets(tmp_path / name, None, None, 0)


def test_a_files_name_becomes_a_plain_one(tmp_path):
    (tmp_path / "$(touch x)\n.control.csv").write_text("1e-5")
    (tmp_path / ("x" * 200 + ".csv")).write_text("1e-5")
    assert find_targets(tmp_path / "$(touch x)\n.control.csv", None, None, 0).name == "$(touch x)-.control"
    assert find_targets(tmp_path / ("x" * 200 + ".csv"), None, None, 0).name == "x" * 100
