"""Edges that lie in files come to the owners of their queries."""

import pytest

from tests.distributed import files


@pytest.mark.parametrize("options", [{}, {"chunk": 7}, {"chunk": 50, "balanced": True}], ids=str)
def test_each_process_gets_its_own_in_the_order_of_the_files(pool, tmp_path, options):
    files.write(tmp_path)
    pool.run(files.check_read, str(tmp_path), options)


def test_ranges_may_be_given_and_empty(pool, tmp_path):
    files.write(tmp_path)
    size = len(pool.pipes)
    pool.run(files.check_read, str(tmp_path), {"query_ptr": [0] * size + [files.N]})


def test_files_are_read_once_and_a_chunk_at_a_time(two):
    found = two.run(files.columns_read, 20)
    assert sorted(map(sum, found)) == [50, 51] and max(map(max, found)) == 20


def test_mistakes_are_said_on_all(two, tmp_path):
    files.write(tmp_path)
    here, there = two.run(files.mistakes, str(tmp_path), 1)
    assert "edges must join keys 0 .. 16 (got 17 in column 90 of all files)" in here[0] and "column 90" in there[0]
    assert here[1] == there[1] and "processes disagree about read_edges (got files: rank 0 [101, 0, 40]" in here[1]
    for words in (here, there):
        assert "got int64 [101, 2] in Tensor); a file of [num_edges, 2] is given as" in words[2]
        assert "must hold integers [2, num_edges] (got float64 [2, 101]" in words[3]
        assert "must be a sequence of files" in words[4] and "'balanced' makes the ranges itself" in words[6]
    assert "FileNotFoundError" in there[5] and "read_edges failed on other processes: rank 1: FileNotFound" in here[5]


def test_odd_files_are_refused_in_words_on_all(two, tmp_path):
    for rank, (several, nothing, numbers, none) in enumerate(two.run(files.odd_files, str(tmp_path))):
        assert "several.npz' must be a file of one array" in several
        assert "nothing.npy' must be a file of NumPy" in nothing and ("failed on other" in nothing) == (rank == 0)
        assert numbers == "TypeError: 'files' must hold names of files, arrays or tensors (got list)"
        assert "'files' must be a sequence of files or arrays (got None)" in none
