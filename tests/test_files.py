"""Files written whole, for those who may read them."""

import pytest
import torch
from safetensors.torch import save_file

from foleygram.files import atomic_path


@pytest.mark.parametrize("inside", ["", "part/model.safetensors"])
def test_a_group_may_read_what_the_umask_lets_it(tmp_path, inside):
    """safetensors writes for its owner alone: nobody else of a cluster could read a cache or a release."""
    (tmp_path / "plain").touch()
    with atomic_path(tmp_path / "weights.safetensors") as temporary:
        file = temporary / inside
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({"a": torch.zeros(2)}, file)
    written = tmp_path / "weights.safetensors" / inside
    assert written.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_block_that_raises_leaves_what_was_there(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("whole")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("ha")
        raise RuntimeError
    assert path.read_text() == "whole" and list(tmp_path.iterdir()) == [path]
