"""What a window says of itself, against what its queries see; that they see the right keys is in test_grid.py."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from graphattn.graphs.windows import Window, intersect_windows
from graphattn.testing.cases import window_along_axis


@st.composite
def windows(draw):
    """A side and a window on it whose queries are its keys."""
    side, dilation = draw(st.integers(1, 12)), draw(st.integers(1, 3))
    before, after = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    is_causal = draw(st.booleans())
    after = 0 if is_causal else after
    has_room = side // dilation > before + after and not is_causal
    border = draw(st.sampled_from(["clip", "shift"])) if has_room else "clip"
    return side, Window(before, after, dilation, 1, border, draw(st.integers(1, 9)), is_causal)


def keys_of(side, window):
    before, after, dilation, _, *rest = window
    return [window_along_axis(query, side, before, after, dilation, *rest) for query in range(side)]


@given(windows())
def test_keys(drawn):
    side, window = drawn
    first, count = window.keys(torch.arange(side), side)
    wanted = keys_of(side, window)
    assert count.tolist() == [len(keys) for keys in wanted]
    found = [
        list(range(start, start + number * window.dilation, window.dilation)) for start, number in zip(first, count)
    ]
    assert found == wanted
    assert window.count_edges(side, side) == sum(map(len, wanted))


@given(windows())
def test_the_plain_form_says_the_same(drawn):
    side, window = drawn
    plain = window.plain(side, side)
    assert keys_of(side, plain) == keys_of(side, window)
    assert plain.plain(side, side) == plain
    assert plain.group <= window.group and plain.is_causal >= window.is_causal


@given(windows())
def test_steps_hold_all_that_are_seen(drawn):
    side, window = drawn
    first, last = window.steps()
    steps = {(key - query) / window.dilation for query, keys in enumerate(keys_of(side, window)) for key in keys}
    assert all(first <= step <= last and step == int(step) for step in steps)


def test_steps_of_a_long_axis_are_all_seen():
    for window in (
        Window(2, 1),
        Window(2, 1, group=4),
        Window(2, 1, border="shift"),
        Window(3, 0, group=2, is_causal=True),
    ):
        seen = {key - query for query, keys in enumerate(keys_of(40, window)) for key in keys}
        assert (min(seen), max(seen)) == window.steps(), window


def test_span_of_a_block_that_begins_where_a_group_does():
    for window in (Window(2, 1), Window(2, 3, group=4), Window(5, 0, group=4, is_causal=True)):
        for block in (1, 4, 8) if window.group == 1 else (4, 8):
            keys = [key for of_query in keys_of(60, window)[24 : 24 + block] for key in of_query]
            assert window.span(block) == max(keys) - min(keys) + 1, (window, block)


@given(windows(), windows())
def test_intersection(one, other):
    side, window = one
    theirs = other[1] if other[1].border == "clip" else window
    both = intersect_windows(window.plain(side, side), theirs.plain(side, side), [(side, side)])
    wanted = [[key for key in ours if key in rest] for ours, rest in zip(keys_of(side, window), keys_of(side, theirs))]
    assert both is None or keys_of(side, both) == wanted
