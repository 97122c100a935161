"""The example on chains and rings of a few atoms, in the files of MoleculeNet."""

import copy
import json

import pytest
import torch
from torch_geometric.loader import DataLoader

pytest.importorskip("rdkit")

from examples import molecules as example

ALCOHOLS = ["C" * carbons + "O" * oxygens for carbons in range(1, 9) for oxygens in range(0, 3)]
QUICK = ["--epochs", "3", "--channels", "16", "--threads", "1"]


def write_freesolv(root, smiles=ALCOHOLS):
    """Each carbon costs 1, each oxygen gains 2 kcal / mol."""
    raw = root / "moleculenet" / "freesolv" / "raw"
    raw.mkdir(parents=True)
    rows = [f'"number, {i}",{each},{each.count("C") - 2 * each.count("O")},0' for i, each in enumerate(smiles)]
    (raw / "SAMPL.csv").write_text("\n".join(["iupac,smiles,expt,calc", *rows, ""]))


def recipe(**changes):
    return example.Recipe(channels=16, heads=4, blocks=1, dropout=0.0, batch_size=8, averaging=0.5, **changes)


def loaders():
    y = [torch.tensor([each.count("C") - 2.0 * each.count("O")]) for each in ALCOHOLS]
    molecules = [example.encode(each, value) for each, value in zip(ALCOHOLS, y, strict=True)]
    return DataLoader(molecules[::2], 4, shuffle=True), DataLoader(molecules[1::2], 64)


def test_splits_share_no_molecule_and_follow_the_seed():
    parts = example.split(642, seed=3)
    assert [len(part) for part in parts] == [514, 64, 64]
    assert sorted(index for part in parts for index in part) == list(range(642))
    assert parts == example.split(642, seed=3) != example.split(642, seed=4)


def test_a_molecule_has_its_bonds_and_the_ways_along_them():
    data = example.encode("CC=O", torch.tensor([1.0]))
    assert data.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert data.edge_attr[:, :2].tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]  # single, double
    assert data.hops.tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0]


@pytest.mark.parametrize("is_global", [True, False])
def test_a_molecule_has_the_same_result_alone_and_in_any_batch(is_global):
    torch.manual_seed(0)
    model = example.regressor(35, 7, recipe(is_global=is_global)).double().eval()
    molecules = [example.encode(each, torch.zeros(1)) for each in ("CCO", "C", "c1ccccc1C(=O)O")]
    for data in molecules:
        data.x, data.edge_attr = data.x.double(), data.edge_attr.double()
    together = model(next(iter(DataLoader(molecules, 3))))
    alone = torch.cat([model(data) for data in DataLoader(molecules, 1)])
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-10)
    assert together.unique().numel() == 3


def test_bonds_and_far_atoms_count():
    torch.manual_seed(0)
    model = example.regressor(35, 7, recipe()).eval()
    (single,), (double,) = (DataLoader([example.encode(each, torch.zeros(1))]) for each in ("CCO", "CC=O"))
    features = copy.copy(single)
    features.edge_attr = double.edge_attr
    assert (model(single) - model(features)).abs() > 1e-6
    further = copy.copy(single)
    further.hops = single.hops.clone().fill_(example.MAX_HOPS + 1)
    assert (model(single) - model(further)).abs() > 1e-6


def test_learns_to_count_atoms_in_the_unit_of_the_targets():
    torch.manual_seed(0)
    train, test = loaders()
    fitted, curve = example.fit(
        train, test, example.regressor(35, 7, recipe()), recipe(epochs=40, learning_rate=1e-2), "atoms"
    )
    assert example.rmse(fitted.predict(test), example.measured_in(test)) == pytest.approx(min(curve))
    assert min(curve) < 0.7 < example.measured_in(test).std()  # 3 kcal / mol


def test_the_epoch_of_the_lowest_validation_error_is_kept(monkeypatch):
    errors, seen = iter([3.0, 1.0, 2.0]), []

    def scripted_rmse(predicted, measured):
        seen.append(predicted)
        return next(errors)

    monkeypatch.setattr(example, "rmse", scripted_rmse)
    train, test = loaders()
    fitted, curve = example.fit(train, test, example.regressor(35, 7, recipe()), recipe(epochs=3), "scripted")
    assert curve == [3.0, 1.0, 2.0]
    assert [torch.equal(fitted.predict(test), each) for each in seen] == [False, True, False]


def test_runs_from_files_to_pictures_and_goes_on_where_it_stopped(tmp_path, capsys):
    write_freesolv(tmp_path)
    results = tmp_path / "results" / "found.json"
    arguments = ["--root", str(tmp_path), "--results", str(results), "--dataset", "FreeSolv", *QUICK]
    found = example.main([*arguments, "--seeds", "1"])["FreeSolv"]
    assert len(found[0]["validation"]) == 3 and len(found[0]["predicted"]) == len(found[0]["measured"]) == 2
    error = (torch.tensor(found[0]["predicted"]) - torch.tensor(found[0]["measured"])).square().mean().sqrt().item()
    assert found[0]["test"] == pytest.approx(error, abs=1e-5)
    assert json.loads(results.read_text())["FreeSolv"]["0"] == found[0]
    assert {path.name for path in results.parent.glob("*.png")} == {"found.png", "found_FreeSolv_attention.png"}
    assert "MPNN 1.15 ± 0.12 kcal / mol" in capsys.readouterr().out

    again = example.main([*arguments, "--seeds", "2"])["FreeSolv"]
    assert again[0] == found[0] and len(again) == 2  # kept, its seconds too
    other = example.main([*arguments, "--seeds", "1", "--no-global"])["FreeSolv"]
    assert other[0]["test"] != found[0]["test"]
