import os

import numpy as np
import pytest
import torch

from foleygram.weights.state_dict import read_arrays

ARRAYS = {"single": np.arange(6, dtype=np.float32).reshape(2, 3), "double": np.array([[1.5], [2.5]])}


class Attack:
    def __reduce__(self):
        return os.mkdir, ("attacked",)


@pytest.mark.parametrize("core", [b"numpy._core.multiarray", b"numpy.core.multiarray"])
def test_arrays_pickled_under_old_and_new_names_are_read(tmp_path, core):
    path = tmp_path / "arrays.pth"
    torch.save(ARRAYS, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", core))
    found = read_arrays(path)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_arrays_of_numpys_own_format_are_read(tmp_path):
    np.savez(tmp_path / "arrays.npz", **ARRAYS)
    np.testing.assert_array_equal(read_arrays(tmp_path / "arrays.npz")["single"], ARRAYS["single"])


def test_nothing_else_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"array": Attack()}, "attack.pth")
    np.savez("attack.npz", array=np.array([Attack()], dtype=object))
    np.savez("damaged.npz", array=np.zeros(1000))
    (tmp_path / "damaged.npz").write_bytes((tmp_path / "damaged.npz").read_bytes()[:500])
    torch.save([np.zeros(2)], "list.pth")
    for name, message in [("attack.pth", "code"), ("attack.npz", "plain arrays"), ("damaged.npz", "fetch it again")]:
        with pytest.raises(ValueError, match=f"{name}.*{message}"):
            read_arrays(tmp_path / name)
    with pytest.raises(ValueError, match="holds list"):
        read_arrays("list.pth")
    with pytest.raises(FileNotFoundError):
        read_arrays("absent.npz")
    assert not (tmp_path / "attacked").exists()
