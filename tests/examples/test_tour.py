"""The tour, cut short: every stop runs and is drawn."""

import json
import re
import sys

import networkx
import pytest
import torch
from torch_geometric.data import Data

from examples import tour as example
from graphattn import BandedGraph, CompleteGraph
from graphattn.recipes import tour


@pytest.fixture
def shorter(monkeypatch):
    """A few examples of each input."""

    def shorten(make):
        def stop():
            whole = make()
            return whole._replace(train=whole.train[:6], test=whole.test[:4])

        return stop

    monkeypatch.setattr(tour, "STOPS", {place: shorten(make) for place, make in tour.STOPS.items()})


def test_tour_trains_and_draws_every_stop(shorter, tmp_path, capsys):
    pytest.importorskip("rdkit")
    picture = tmp_path / "folder" / "tour.png"
    found = example.main(["--epochs", "0", "--threads", "1", "--output", str(picture)])
    assert set(found) == set(tour.STOPS) and all(0 <= accuracy <= 100 for accuracy in found.values())
    assert picture.read_bytes().startswith(b"\x89PNG")
    rows = capsys.readouterr().out.splitlines()
    kernels = {row[:25].rstrip(): row.split("%")[0].split()[-2] for row in rows[1 : 1 + len(found)]}
    assert kernels["sentences    complete"] == kernels["sentences    causal"] == "edges_cpu"


def test_one_page_for_all_stops(shorter, tmp_path):
    pytest.importorskip("rdkit")
    example.main(
        ["--epochs", "0", "--output", str(tmp_path / "tour.png"), "--explore", str(tmp_path / "new" / "page.html")]
    )
    text = (tmp_path / "new" / "page.html").read_text()
    scenes = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])["scenes"]
    assert [scene["title"] for scene in scenes] == [", ".join(stop) for stop in tour.STOPS]
    assert [scene["kind"] for scene in scenes] == ["words", "words", "sound", "image", "molecule", "network"]
    assert all(len(scene["layers"]) == 3 for scene in scenes) and "samples" in scenes[2]["shown"]


def test_without_rdkit_the_row_says_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    monkeypatch.setattr(tour, "STOPS", {("molecules", "bonds"): tour.molecules})
    assert example.main(["--threads", "1", "--output", str(tmp_path / "tour.png")]) == {}
    assert "pip install" in capsys.readouterr().out


def test_without_matplotlib_there_is_no_picture(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(tour, "STOPS", {("karate club", "friendships"): tour.karate_club})
    assert list(example.main(["--epochs", "0", "--output", str(tmp_path / "tour.png")])) == [
        ("karate club", "friendships")
    ]
    assert "no picture is drawn" in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_the_club_is_labelled_by_its_leaders_alone():
    data = tour.karate_club().train[0]
    club = networkx.karate_club_graph()
    assert data.train_mask.nonzero().flatten().tolist() == [0, 33]
    assert (data.train_mask ^ data.test_mask).all()
    assert data.y.tolist() == [int(club.nodes[member]["club"] == "Officer") for member in club]


def two_examples():
    torch.manual_seed(0)
    return [
        Data(x=torch.randn(n, 3), pos=torch.arange(n), y=torch.tensor([n % 2]), graph=BandedGraph(n, 1, 2))
        for n in (5, 8)
    ]


def test_scores_do_not_depend_on_batch_mates():
    examples = two_examples()
    model = tour.Model(tour.Stop(examples, examples, 1))
    together = model(tour.Batch.from_data_list(examples))
    alone = torch.cat([model(tour.Batch.from_data_list([data])) for data in examples])
    torch.testing.assert_close(together, alone)


def test_positions_count_in_steps():
    examples = two_examples()
    model = tour.Model(tour.Stop(examples, examples, 1, step=0.5))
    plain = model(tour.Batch.from_data_list(examples))
    model.step = 1.0
    for data in examples:
        data.pos = data.pos * 2
    torch.testing.assert_close(model(tour.Batch.from_data_list(examples)), plain)
    model.step = None
    assert not torch.allclose(model(tour.Batch.from_data_list(examples)), plain)


@pytest.mark.parametrize("graph", [BandedGraph(5, 1, 2), CompleteGraph(5)])
def test_drawn_attention_sums_to_one(graph):
    data = two_examples()[0]
    data.graph = graph
    weights = tour.Model(tour.Stop([data], [data], 1)).attention(data)
    torch.testing.assert_close(torch.zeros(5).index_add(0, graph.edge_index()[1], weights), torch.ones(5))
