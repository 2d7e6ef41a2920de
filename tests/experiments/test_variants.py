"""Variants of a training: the values that change, and nothing silently added."""

import pytest

from foleygram.experiments.variants import changed

CONFIG = {"model": {"init_args": {"lr": 1.0, "parts": [{"name": "a"}, {"name": "b"}]}}}


def test_a_dotted_path_changes_one_value_of_a_copy() -> None:
    result = changed(CONFIG, {"model.init_args.lr": 2.0, "model.init_args.parts.1.name": "c"})
    assert result == {"model": {"init_args": {"lr": 2.0, "parts": [{"name": "a"}, {"name": "c"}]}}}
    assert CONFIG["model"]["init_args"]["lr"] == 1.0


@pytest.mark.parametrize("path", ["model.args.lr", "model.init_args.parts.7.name", "model.init_args.parts.x.name"])
def test_a_path_whose_parent_is_missing_is_named(path: str) -> None:
    with pytest.raises(KeyError, match="has no"):
        changed(CONFIG, {path: 1})
