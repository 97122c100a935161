"""The pictures of the lecture, drawn without training first."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from examples import lecture
from graphattn import CompleteGraph
from graphattn.recipes import tour

LECTURE = sorted((Path(__file__).parents[2] / "docs" / "lecture").glob("*.md"))


def test_every_picture_is_drawn_in_few_bytes(tmp_path, monkeypatch):
    pytest.importorskip("rdkit")
    monkeypatch.setattr(tour, "train", lambda *_: None)
    lecture.main(["--out", str(tmp_path)])
    drawn = {path.stem: path for path in tmp_path.iterdir()}
    linked = {name for page in LECTURE for name in re.findall(r"\((\w+)\.png\)", page.read_text(encoding="utf-8"))}
    assert set(drawn) == linked - {"speech_digits_sweep"}  # drawn by the example of that name, which needs data
    for path in drawn.values():
        assert path.stat().st_size < 100_000 and min(Image.open(path).size) > 200, path.name


def test_only_draws_what_is_asked_for(tmp_path):
    lecture.main(["--only", "outputs", "--out", str(tmp_path / "new")])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["outputs.png"]


def test_weights_of_all_heads_are_drawn():
    torch.manual_seed(0)
    stop = tour.STOPS["sentences", "complete"]()
    data = stop.test[0]
    weights = lecture.first_layer(tour.Model(stop), data)
    n = data.num_nodes
    assert data.graph == CompleteGraph(n) and weights.shape == (n * n, tour.HEADS)
    torch.testing.assert_close(weights.view(n, n, -1).sum(1), torch.ones(n, tour.HEADS))
