"""The whole command on tiny sizes: every kernel that runs stands in the table, the choice among them."""

import torch

from benchmarks import choose_kernel
from graphattn import BandedGraph, CompleteGraph


def test_table(tmp_path):
    choose_kernel.main(["--largest", "16", "--heads", "1", "--dim", "4", "--rounds", "1", "--out", str(tmp_path)])
    lines = (tmp_path / "choose_kernel.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")][1:]
    assert len(cells) == 2 * len(list(choose_kernel.families(16)))
    for _, _, times, fastest, chosen, _ in cells:
        assert fastest in times and chosen in times


def test_kernels_that_refuse_are_left_out():
    complete = choose_kernel.kernel_case(CompleteGraph(5), 1, 4).peers
    band = choose_kernel.kernel_case(BandedGraph(5, 1, 0), 1, 4).peers
    assert "sdpa" in complete and "sdpa" not in band
    assert torch.equal(band["edges_torch"].call(*[torch.ones(5, 1, 4)] * 3), torch.ones(5, 1, 4))
