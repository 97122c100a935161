import json

import pytest

from graphattn.kernels import crossovers
from graphattn.kernels.crossovers import CROSSOVERS, FILE, read


def test_every_constant_of_the_file_has_a_place_and_figures():
    topics = json.loads(FILE.read_text(encoding="utf-8"))
    assert read() == CROSSOVERS and all(x is not None for x in CROSSOVERS)
    for topic in topics.values():
        assert topic["about"] and topic["figures"]
        for figures in topic["figures"]:
            assert figures.keys() >= {"work", "machine", "date", "unit"}


@pytest.mark.parametrize("changed", ["left out", "unknown"])
def test_a_file_of_other_constants_is_an_error(changed, tmp_path):
    topics = json.loads(FILE.read_text(encoding="utf-8"))
    constants = topics["few keys on CUDA"]["constants"]
    constants["least_values"] = constants.pop("least_keys") if changed == "left out" else 3
    (tmp_path / "crossovers.json").write_text(json.dumps(topics))
    with pytest.raises(TypeError, match="least_"):
        read(tmp_path / "crossovers.json")


def test_the_file_is_in_the_wheel():
    from pathlib import Path

    root = Path(crossovers.__file__).parents[2]
    assert f'"kernels/{FILE.name}"' in (root / "pyproject.toml").read_text(encoding="utf-8")
