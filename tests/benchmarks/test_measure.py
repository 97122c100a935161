"""Peers are checked before they are timed, and timed in turn."""

import pytest
import torch

from benchmarks.measure import Case, Peer, calls_of, check, interleaved, relative_error

WEIGHT = torch.tensor([[2.0, 0.0], [1.0, 3.0]])


def times_weight(x):
    return x @ WEIGHT


def case(*peers: Peer) -> Case:
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    named = {f"peer {place}": peer for place, peer in enumerate(peers)}
    return Case((x,), named, lambda row, x: x[row] @ WEIGHT.double(), rows=5)


def test_right_peers_pass():
    flipped = Peer(lambda x: times_weight(x.flip(0)).flip(0))
    own_layout = Peer(lambda x: WEIGHT.T @ x, torch.t, torch.t)
    check(case(Peer(times_weight), flipped, own_layout))


@pytest.mark.parametrize(
    "wrong",
    [
        Peer(lambda x: x @ WEIGHT.T),
        Peer(lambda x: times_weight(x) + 0.001),
        Peer(lambda x: times_weight(x.detach()) + 0 * x),
        Peer(lambda x: torch.cat([times_weight(x[:4]), x[4:]])),
        Peer(lambda x: times_weight(x) * torch.nan),
        Peer(lambda x: times_weight(x) * 2, trains=False),
    ],
    ids=["transposed", "a little off", "no gradient", "last row", "nan", "forward only"],
)
def test_a_wrong_peer_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match="'peer 1' is wrong"):
        check(case(Peer(times_weight), wrong))


def test_zero_gradients_are_compared_without_scale():
    assert relative_error(torch.full((3,), 1e-7), torch.full((3,), 1e-17, dtype=torch.float64)) < 1e-6
    assert relative_error(torch.full((3,), 2e-9), torch.full((3,), 1e-9, dtype=torch.float64)) == pytest.approx(1)


def test_a_peer_without_backward_is_left_out_of_training():
    both = case(Peer(times_weight), Peer(times_weight, trains=False))
    assert list(calls_of(both, "forward")) == ["peer 0", "peer 1"]
    assert list(calls_of(both, "forward + backward")) == ["peer 0"]


def test_training_gives_output_and_gradients_of_parameters():
    parameter = torch.tensor(2.0, requires_grad=True)
    one = case(Peer(lambda x: parameter * times_weight(x), parameters=(parameter,)))
    out, grad_x, grad_parameter = calls_of(one, "forward + backward")["peer 0"]()
    assert (out.shape, grad_x.shape, grad_parameter.shape) == ((5, 2), (5, 2), ())


def test_calls_are_timed_in_turn():
    order = []

    def call(name):
        def run():
            order.append(name)
            torch.randn(400_000).sum()  # some milliseconds: one call is a sample, or a few are

        return run

    timings = interleaved({"a": call("a"), "b": call("b")}, rounds=4)
    turns = [name for place, name in enumerate(order) if place == 0 or order[place - 1] != name]
    assert turns == ["a", "b"] * 5  # the warm-up, then four rounds
    assert all(0 < timing.low <= timing.median <= timing.high for timing in timings.values())
