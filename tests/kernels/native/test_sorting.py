"""The loops over indices, beside plain Python."""

import threading
import time
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphattn.kernels.native import sorting
from graphattn.kernels.native.sorting import copy_pairs, is_sorted, same_numbers, some_outside, sort_pairs, turn_rows
from graphattn.kernels.native.threads import count_pieces
from tests.kernels.native.structs import declared_fields, fields_in_c

DTYPES = st.sampled_from([torch.int64, torch.int32])
PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), max_size=40)
ANY = st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1) | st.integers(-2, 9), st.integers(-2, 7)), max_size=40)


def columns(pairs, dtype=torch.int64):
    return torch.tensor(pairs, dtype=dtype).reshape(-1, 2).unbind(1)


def starts_of(rows, num_rows):
    return [sum(row < start for row in rows) for start in range(num_rows + 1)]


@given(PAIRS, DTYPES)
def test_sort_pairs(pairs, dtype):
    starts, cols, places = sort_pairs(*columns(pairs, dtype), 7, 5)
    order = sorted(range(len(pairs)), key=pairs.__getitem__)
    assert starts.tolist() == starts_of([row for row, _ in pairs], 7)
    assert cols.tolist() == [pairs[place][1] for place in order] and places.tolist() == order
    assert starts.dtype == cols.dtype == places.dtype == torch.int32


@given(PAIRS, DTYPES, st.booleans())
def test_turn_rows(pairs, dtype, has_places):
    pairs = sorted(pairs)
    row, col = columns(pairs, dtype)
    place = torch.randperm(len(pairs)).int() if has_places else None
    starts, rows, places = turn_rows(torch.tensor(starts_of(row.tolist(), 7)).int(), col, place, 5)
    order = sorted(range(len(pairs)), key=lambda number: pairs[number][::-1])
    assert starts.tolist() == starts_of(col.tolist(), 5)
    assert rows.tolist() == [pairs[entry][0] for entry in order]
    stays = not has_places and order == list(range(len(pairs)))
    assert (places is None) == stays
    assert stays or places.tolist() == (place[order] if has_places else torch.tensor(order)).tolist()


@given(ANY, DTYPES)
def test_some_outside(pairs, dtype):
    expected = any(not (0 <= row < 7 and 0 <= col < 5) for row, col in pairs)
    assert some_outside(*columns(pairs, dtype), 7, 5) == expected


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), -(2**63) + 1, -1, 7, 2**62])
@pytest.mark.parametrize("side", [0, 1])
def test_numbers_far_outside(side, number):
    pairs = torch.zeros(2, 100, dtype=torch.int64)
    assert not some_outside(*pairs, 7, 7)
    pairs[side, 99] = number
    assert some_outside(*pairs, 7, 7)
    assert some_outside(*torch.zeros(2, 1, dtype=torch.int64), 1, 0)  # 0 is outside of nothing


@given(PAIRS, DTYPES)
def test_is_sorted(pairs, dtype):
    assert is_sorted(*columns(pairs, dtype)) == all(one <= other for one, other in pairwise(pairs))
    assert is_sorted(*columns(sorted(pairs), dtype))


# int32 is copied as such.
COPIES = pytest.mark.parametrize(
    "dtype, copy_dtype", [(torch.int64, torch.int64), (torch.int64, torch.int32), (torch.int32, torch.int32)]
)


@COPIES
@given(pairs=PAIRS | ANY, is_put_in_order=st.booleans())
def test_copy_pairs(pairs, is_put_in_order, dtype, copy_dtype):
    pairs = sorted(pairs) if is_put_in_order else pairs
    row, col = columns(pairs, dtype)
    found = copy_pairs(torch.stack([col, row]), 7, 5, copy_dtype)
    if any(not (0 <= row < 7 and 0 <= col < 5) for row, col in pairs):
        assert found is None
    else:
        copy, is_in_order = found
        assert torch.equal(copy, torch.stack([col, row]).to(copy_dtype)) and copy.dtype == copy_dtype
        assert is_in_order == all(one <= other for one, other in pairwise(pairs))


@COPIES
@pytest.mark.parametrize("number", [2**31, 2**32, -(2**31) - 1, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("side", [0, 1])
def test_numbers_that_do_not_fit_are_not_copied(side, number, dtype, copy_dtype):
    """Nor those above 2^31 of more nodes than that."""
    pairs = torch.zeros(2, 100, dtype=torch.int64)
    pairs[side, 77] = number
    if dtype == torch.int64:
        assert copy_pairs(pairs, 2**40, 2**40, copy_dtype) is None
    pairs[side, 77] = 2**31 - 1
    assert torch.equal(copy_pairs(pairs.to(dtype), 2**40, 2**40, copy_dtype)[0], pairs.to(copy_dtype))
    assert copy_pairs(pairs.to(dtype), 2**31 - 1, 2**31 - 1, copy_dtype) is None


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20), DTYPES, st.data())
def test_same_numbers(numbers, dtype, data):
    shown = torch.tensor(numbers, dtype=torch.int64)
    kept = shown.to(dtype)
    assert same_numbers(shown, kept)
    for place in range(len(numbers)):
        bit = data.draw(st.integers(0, 63))
        other = shown.clone()
        other[place] ^= -(2**63) if bit == 63 else 1 << bit
        assert not same_numbers(other, kept)


THREE = 3 * 2**16 + 5


@pytest.mark.parametrize(
    "place", [0, 4095, 4096, THREE // 3 - 1, THREE // 3, THREE // 3 + 4096, 2 * THREE // 3, THREE - 1]
)
def test_pieces_and_their_borders(place):
    count = THREE
    row = torch.arange(count)
    col, zeros = row.clone(), torch.zeros(count, dtype=torch.int64)
    assert count_pieces(count, sorting.PIECE) == 3
    assert is_sorted(row, col) and not some_outside(row, col, count, count) and same_numbers(row, col.int())
    zeros[place] = -1
    assert some_outside(row, zeros, count, count) and some_outside(zeros, row, count, count)
    assert not same_numbers(row + zeros, row.int()) and not same_numbers(row + zeros, row)
    assert is_sorted(row + zeros - (zeros < 0).long() * 5, col) == (place == 0)  # goes before the one before it
    falls = torch.zeros(count, dtype=torch.int64)
    falls[place:] = -1
    assert is_sorted(falls, falls) == is_sorted(falls * 0, falls) == (place == 0)
    for index in (torch.stack([falls + 1, falls + 1]), torch.stack([falls + 1, falls * 0])):
        copy, is_in_order = copy_pairs(index, 2, 2, torch.int32)
        assert torch.equal(copy, index.int()) and is_in_order == (place == 0)
    assert copy_pairs(torch.stack([falls, row]), count, 2, torch.int32) is None


def test_any_layout_is_read_as_it_shows():
    pairs = torch.randint(9, (300, 4))
    row, col = pairs[:, 1], pairs[:, 2].flip(0)
    for found, expected in zip(sort_pairs(row, col, 9, 9), sort_pairs(row.contiguous(), col.contiguous(), 9, 9)):
        assert torch.equal(found, expected)
    askew = torch.from_numpy(np.frombuffer(bytearray(bytes(1) + row.numpy().tobytes()), np.int64, offset=1))
    assert askew.data_ptr() % 8 and same_numbers(askew, row.int()) and same_numbers(row, askew)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("number", [-1, 5, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("side", [0, 1])
def test_sorting_gives_up_out_of_range(side, number, dtype):
    pairs = torch.zeros(2, 50, dtype=dtype)
    pairs[side, 33] = number
    with pytest.raises(ValueError, match="edges must have rows 0 to 4 and columns 0 to 4"):
        sort_pairs(*pairs, 5, 5)
    if side == 1:
        with pytest.raises(ValueError, match="columns 0 to 4"):
            turn_rows(torch.tensor([0, 25, 50]).int(), pairs[1], None, 5)


@pytest.mark.parametrize("starts", [[0, 25, 49], [0, -7, 2], [0, 2**31 - 1, 3], [0, 60, 70]])
def test_turning_gives_up_or_visits_every_entry_once(starts):
    col = torch.randint(5, (50,), dtype=torch.int32)
    try:
        _, rows, places = turn_rows(torch.tensor(starts, dtype=torch.int32), col, None, 5)
    except ValueError:
        assert starts[-1] < 50
    else:
        assert sorted(places.tolist()) == list(range(50)) and set(rows.tolist()) <= {0, 1}


@contextmanager
def written_meanwhile(numbers, others):
    """By a thread, again and again, each of some arrays and what was there."""
    good, is_open = numbers.copy(), [True]

    def write():
        while is_open[0]:
            for other in others:
                numbers[:] = other
                numbers[:] = good
                time.sleep(5e-4)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        is_open[0] = False
        writer.join()


@pytest.mark.parametrize("side", [0, 1])
def test_an_index_that_is_written_meanwhile(side):
    """Whatever a thread writes, results are whole or there is an error: every place once, in range."""
    count, size = 20_000, 50
    pairs = torch.randint(size, (2, count))
    numbers = pairs[side].numpy()
    others = [
        torch.randint(size, (count,)).numpy(),
        np.full(count, -(2**40)),
        np.full(count, size - 1),
        numbers[::-1].copy(),
    ]
    done = 0
    with written_meanwhile(numbers, others):
        for _ in range(500):
            try:
                starts, cols, places = sort_pairs(*pairs, size, size)
            except ValueError:
                continue
            done += 1
            assert torch.equal(places.sort()[0], torch.arange(count, dtype=torch.int32))
            assert int(cols.min()) >= 0 and int(cols.max()) < size
            assert int(starts[0]) == 0 and int(starts[-1]) == count and bool((starts.diff() >= 0).all())
    assert done


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_what_is_said_of_a_copy_is_true_of_it_if_the_index_is_written_meanwhile(dtype):
    count = THREE
    pairs = torch.arange(count).expand(2, count).clone()
    others = [np.full(count, -1), np.full(count, 2**40), np.arange(count)[::-1].copy()]
    in_order = copied = 0
    with written_meanwhile(pairs[1].numpy(), others):
        for _ in range(300):
            found = copy_pairs(pairs, count, count, dtype)
            if found is None:
                continue
            copied += 1
            (col, row), said = found
            assert int(row.min()) >= 0 and int(row.max()) < count and said == is_sorted(row, col)
            in_order += said
    assert copied and in_order


@pytest.mark.parametrize(
    "struct, name",
    [(sorting.Pairs, "pairs_fields"), (sorting.Copying, "copying_fields"), (sorting.Comparison, "comparison_fields")],
)
def test_structs_are_those_of_c(struct, name):
    assert fields_in_c(name) == declared_fields(struct)
