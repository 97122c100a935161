"""The example gives the same numbers on one and on two processes, also where it goes on from a checkpoint."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.distributed import example
from tests.distributed.pool import Pool


@pytest.fixture(scope="module")
def pools():
    found = {size: Pool(size) for size in (1, 2)}
    yield found
    for pool in found.values():
        pool.close()


def test_two_processes_learn_what_one_does(pools):
    (alone,) = pools[1].run(example.train)
    for found in pools[2].run(example.train):
        assert found["processes"] == 2 and found["test"] == alone["test"]
        assert abs(found["loss"] - alone["loss"]) < 1e-5
        assert [rank["own"] for rank in found["ranks"]] == [24, 24]
        assert all(rank["bytes"] == rank["received"] * 2 * 2 * 4 * 4 for rank in found["ranks"])


def test_a_run_that_was_cut_off_goes_on_on_another_number_of_processes(pools, tmp_path):
    (alone,) = pools[1].run(example.train)
    names = pools[2].run(example.train_in_two_parts, str(tmp_path))
    assert "epoch_3" in names[0] and "last" in names[0] and "epoch_4" not in names[0]
    with pytest.raises(AssertionError, match=r"is one of 6 epochs, .* \(got 7\); give as many, or another folder"):
        pools[2].run(example.train, 7, str(tmp_path))
    for _ in range(2):  # the second finds nothing left to do
        (found,) = pools[1].run(example.train, example.RECIPE.epochs, str(tmp_path))
        assert abs(found["loss"] - alone["loss"]) < 1e-5


@pytest.mark.skipif(sys.platform == "win32", reason="torch.distributed.run needs gloo by name and signals of Unix")
def test_a_run_of_which_a_process_is_killed_goes_on_by_itself(pools, tmp_path):
    (alone,) = pools[1].run(example.train)
    options = [
        "--standalone",
        "--nproc-per-node=2",
        "--max-restarts=1",
        "-m",
        "tests.distributed.elastic",
        str(tmp_path),
    ]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *options], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "result.json").read_text())
    assert (found["restarts"], found["steps"]) == (1, example.RECIPE.epochs - 3)
    assert abs(found["loss"] - alone["loss"]) < 1e-5 and found["test"] == alone["test"]


def test_picture(tmp_path):
    ranks = [{"own": 24, "received": 3, "bytes": 100}] * 2
    records = [{"processes": size, "seconds": 1.0 / size, "ranks": ranks} for size in (1, 2)]
    example.example.draw(example.villages(40), records, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
