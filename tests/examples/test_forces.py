"""Force matching on a small molecule, and the truth it learns from."""

import argparse

import numpy as np
import pytest
import torch

from examples import forces


@pytest.fixture(scope="module")
def field():
    return forces.ForceField("CO")  # methanol, 6 atoms


def tiny(*more) -> argparse.Namespace:
    sizes = ["--channels", "16", "--heads", "2", "--layers", "2", "--gaussians", "8"]
    return forces.parse_arguments(["--smiles", "CO", *sizes, *more])


def test_forces_are_learned_and_drawn(tmp_path, capsys):
    options = ["--train", "60", "--test", "20", "--epochs", "8", "--channels", "16", "--gaussians", "8", "--lr", "0.01"]
    found = forces.main(["--smiles", "CO", *options, "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert (tmp_path / "forces.png").read_bytes().startswith(b"\x89PNG")
    assert f"test forces: mean error {found:.2f} kcal/mol/Å" in printed
    no_force = float(printed.split("no force at all: ")[1].split(",")[0])
    assert found < 0.9 * no_force


def test_the_truth_is_minus_the_gradient_of_its_energy(field):
    positions = field.at_rest + 0.05 * np.random.default_rng(0).standard_normal(field.at_rest.shape)
    assert np.abs(field.forces(field.at_rest)).max() < 0.1
    wanted, step = np.zeros_like(positions), 1e-4
    for place in np.ndindex(*positions.shape):
        ends = []
        for sign in (1, -1):
            moved = positions.copy()
            moved[place] += sign * step
            ends.append(field.energy(moved))
        wanted[place] = -(ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(field.forces(positions), wanted, atol=1e-3)


def test_the_simulation_has_its_temperature(field):
    """Of harmonic springs the mean potential energy is kT / 2 for each of 3 n - 6 ways to move."""
    sample = forces.simulate(field, 400, 300.0, 0, "")
    expected = (3 * 6 - 6) / 2 * forces.BOLTZMANN * 300
    assert sample.positions.shape == sample.forces.shape == (400, 6, 3)
    assert (sample.energies.mean() - field.energy(field.at_rest)).item() == pytest.approx(expected, rel=0.2)


def model_and_positions(field):
    torch.manual_seed(0)
    model = forces.Potential(field, tiny(), 3.0, 2.0).double()
    positions = torch.tensor(field.at_rest) + 0.1 * torch.randn(3, 6, 3, dtype=torch.float64)
    return model, positions


def test_forces_are_minus_the_gradient_of_the_learned_energy(field):
    model, positions = model_and_positions(field)
    _, found = model(positions)
    direction, step = torch.randn_like(positions), 1e-5
    with torch.no_grad():
        ends = [model.energy(positions + sign * step * direction).sum() for sign in (1, -1)]
    torch.testing.assert_close(-(found * direction).sum().detach(), (ends[0] - ends[1]) / (2 * step))


def test_the_loss_on_forces_teaches_every_weight(field):
    """Its gradient, through a backward pass of a backward pass, is that of finite differences."""
    model, positions = model_and_positions(field)

    def loss():
        return model(positions)[1].square().mean()

    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss(), parameters, allow_unused=True)
    directions = [torch.randn_like(parameter) for parameter in parameters]
    wanted, step = [], 1e-6
    for sign in (1, -1):
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions):
                parameter.add_(direction, alpha=sign * step)
        wanted.append(loss().detach())
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions):
                parameter.sub_(direction, alpha=sign * step)
    found = sum((g * d).sum() for g, d in zip(gradients, directions) if g is not None)
    torch.testing.assert_close(found, (wanted[0] - wanted[1]) / (2 * step), rtol=1e-5, atol=1e-8)


def test_turning_a_molecule_turns_its_forces(field):
    model, positions = model_and_positions(field)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    energy, found = model(positions)
    turned_energy, turned = model(positions @ turn + 5.0)
    torch.testing.assert_close(turned_energy, energy)
    torch.testing.assert_close(turned, found @ turn)


def test_molecules_of_a_batch_are_apart(field):
    model, positions = model_and_positions(field)
    torch.testing.assert_close(model(positions)[1][1], model(positions[1:2])[1][0])


@pytest.mark.parametrize("smiles", ["no molecule", "C("])
def test_bad_molecules_are_named(smiles):
    with pytest.raises(ValueError, match="must name a molecule"):
        forces.ForceField(smiles)
