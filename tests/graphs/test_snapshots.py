"""A graph is a value: whatever is done to the memory it was read from, and by whom, it answers as before."""

import gc
import sys
import threading
import time
import types
import weakref

import numpy as np
import pytest
import torch
from torch_geometric import EdgeIndex

from graphattn import attend
from graphattn.graphs import EdgeListGraph, as_graph
from graphattn.graphs.copied import copied
from graphattn.graphs.csr import compress_edges
from graphattn.graphs.snapshots import _READ, MANY, in_short, plain, shows, snapshot

NODES = 12


def edges(seed=0, num_edges=40):
    return torch.randint(NODES, (2, num_edges), generator=torch.Generator().manual_seed(seed))


def in_numpy(x, new):
    np.from_dlpack(x)[...] = np.from_dlpack(new)


def in_place(x, new):
    x.copy_(new)


def through_data(x, new):
    x.data.copy_(new)


def other_data(x, new):
    x.data = new.clone()


def other_storage(x, new):
    x.set_(new.clone())


def in_storage(x, new):
    # Byte by byte, wherever the numbers lie.
    base = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage())
    base.as_strided(x.shape, x.stride(), x.storage_offset()).copy_(new)


def in_shared_memory(x, new):
    x.share_memory_()
    x.detach().numpy()[...] = new.numpy()


def in_inference_mode(x, new):
    with torch.inference_mode():
        x.detach().copy_(new)


WRITERS = [in_numpy, in_place, through_data, other_data, other_storage, in_storage, in_shared_memory, in_inference_mode]
every_writer = pytest.mark.parametrize("write", WRITERS)


class Index(torch.Tensor):
    """A tensor with another name."""


FORMS = {
    "int64": lambda x: x,
    "int32": lambda x: x.int(),
    "int16": lambda x: x.short(),
    "uint8": lambda x: x.to(torch.uint8),
    "pairs": lambda x: x.t().contiguous().t(),
    "of a buffer": lambda x: torch.stack([x.flip(0), x, x + 1])[1],
    "columns": lambda x: torch.stack([x, x], -1).flatten(1)[:, ::2],
    "subclass": lambda x: x.as_subclass(Index),
    "mask": lambda x: EdgeListGraph(x, NODES).mask(),
}
every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def answers(graph):
    return [
        graph.edge_index(),
        *(array for csr in (graph.csr(), graph.csr_transposed()) for array in csr if array is not None),
        graph.mask(),
        graph.degrees(),
        graph.T.edge_index(),
        graph.allows(torch.arange(NODES)[:, None], torch.arange(NODES)),
    ]


def assert_equal(ours, theirs):
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@every_form
@every_writer
@pytest.mark.parametrize("is_sorted", [False, True])
def test_a_graph_stays_and_the_tensor_gives_another(form, write, is_sorted):
    if write in (other_storage, other_data) and form is FORMS["subclass"]:
        pytest.skip("torch gives subclasses no other storage")
    x, new = form(edges()), form(edges(1))
    graph = as_graph(x, NODES)
    if is_sorted:
        graph.csr()
    expected = answers(as_graph(x.clone(), NODES))
    write(x, new)
    assert_equal(answers(graph), expected)
    assert_equal(answers(as_graph(x, NODES)), answers(as_graph(new.clone(), NODES)))
    assert as_graph(x, NODES) is as_graph(x, NODES)


@every_writer
def test_a_graph_of_an_edge_index_has_memory_of_its_own(write):
    x = edges()
    graph = EdgeListGraph(x, NODES)
    write(x, torch.full_like(x, 10**6))
    assert torch.equal(graph.edge_index(), edges())
    assert_equal(answers(graph), answers(EdgeListGraph(edges(), NODES)))


@every_writer
def test_the_backward_pass_is_that_of_the_graph_of_the_forward_pass(write):
    x, nodes, cotangent = edges(), torch.randn(NODES, 2, 4, requires_grad=True), torch.randn(NODES, 2, 4)
    expected = torch.autograd.grad(attend(nodes, nodes, nodes, x.clone()), nodes, cotangent)[0]
    out = attend(nodes, nodes, nodes, x)
    write(x, torch.full_like(x, 10**6))
    assert torch.equal(torch.autograd.grad(out, nodes, cotangent)[0], expected)
    with pytest.raises(ValueError, match="names key 1000000, but there are 12 keys"):
        attend(nodes, nodes, nodes, x)


@pytest.mark.parametrize("count", [40, 2**14])
def test_a_buffer_of_another_size(count):
    x = edges(num_edges=count)
    graph = as_graph(x, NODES)
    assert as_graph(x, NODES) is graph
    x.resize_(2, count + 9)[...] = edges(2, count + 9)  # which a tensor that NumPy has seen refuses
    assert graph.num_edges == count and torch.equal(as_graph(x, NODES).edge_index(), edges(2, count + 9))
    x.resize_(2, 3)
    assert as_graph(x, NODES).num_edges == 3
    x.data = torch.zeros(2, 0, dtype=torch.int64)
    assert as_graph(x, NODES).num_edges == 0
    assert torch.equal(graph.edge_index(), edges(num_edges=count))


def test_numbers_written_back_give_the_same_graph():
    x = edges()
    graph = as_graph(x, NODES)
    x.add_(1).sub_(1)
    assert as_graph(x, NODES) is graph
    in_numpy(x, edges(1))
    other = as_graph(x, NODES)
    in_numpy(x, edges())
    assert other is not graph and torch.equal(as_graph(x, NODES).edge_index(), graph.edge_index())


@pytest.mark.parametrize("count", [40, 2**14])
@pytest.mark.parametrize("change", [0, -1])
@pytest.mark.parametrize("side", [0, 1])
def test_one_number_makes_another_graph(change, side, count):
    x = edges(num_edges=count)
    graph = as_graph(x, NODES)
    x.numpy()[side, change] = (x[side, change].item() + 1) % NODES
    assert as_graph(x, NODES) is not graph and torch.equal(as_graph(x, NODES).edge_index(), x)


def test_an_edge_index_of_pyg():
    x = EdgeIndex(edges(), sparse_size=(NODES, NODES))
    graph = as_graph(x)
    assert as_graph(x) is graph and type(graph.edge_index()) is torch.Tensor
    x.as_tensor().numpy()[...] = edges(1).numpy()
    assert torch.equal(graph.edge_index(), edges()) and torch.equal(as_graph(x).edge_index(), edges(1))
    graph = EdgeListGraph(x, NODES)
    x.as_tensor().zero_()
    assert torch.equal(graph.edge_index(), edges(1)) and type(graph.edge_index()) is torch.Tensor


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("layout", ["coo", "csr", "csc"])
def test_the_indices_of_sparse_matrices(layout, dtype):
    graph = as_graph(edges(), NODES)
    csr = graph.csr() if layout != "csc" else graph.csr_transposed()
    if layout == "coo":
        x = torch.sparse_coo_tensor(edges().flip(0), torch.ones(40), (NODES, NODES))
        parts = x._indices()
    else:
        make = torch.sparse_csr_tensor if layout == "csr" else torch.sparse_csc_tensor
        x = make(csr.rowptr.to(dtype), csr.col.to(dtype), torch.ones(40), (NODES, NODES))
        parts = x.col_indices() if layout == "csr" else x.row_indices()
    first = as_graph(x)
    expected = answers(first)
    assert as_graph(x) is first
    in_numpy(parts, torch.zeros_like(parts))
    assert_equal(answers(first), expected)
    nodes = as_graph(x).edge_index()
    assert not nodes[0 if layout != "csc" else 1].any()
    if layout != "coo":
        starts = x.crow_indices() if layout == "csr" else x.ccol_indices()
        starts[1] = 1000
        with pytest.raises(ValueError, match="'rowptr' must rise from 0 to num_edges = 40"):
            as_graph(x)


def test_compressed_rows_and_columns():
    rowptr, col = torch.tensor([0, 2, 2]), torch.tensor([0, 4])
    graph = EdgeListGraph.from_csr(rowptr, col, num_keys=5)
    rowptr.zero_(), col.fill_(10**6)
    assert graph.csr().col.tolist() == [0, 4] and graph.edge_index().tolist() == [[0, 4], [0, 0]]
    with pytest.raises(TypeError, match=r"'rowptr' must be a tensor \(got list\)"):
        EdgeListGraph.from_csr([0, 1], col)


def test_arrays_of_numpy_in_any_form():
    array = edges().numpy().copy()
    expected = edges()
    for given in (array, array.astype(">i8"), np.asfortranarray(array), array[:, ::-1][:, ::-1]):
        assert torch.equal(as_graph(given, NODES).edge_index(), expected)
    array.flags.writeable = False
    graph = as_graph(array, NODES)
    array.flags.writeable = True
    array[...] = 0
    assert torch.equal(graph.edge_index(), expected)


# What is remembered ---------------------------------------------------------------------------------------------------


def test_tensors_of_inference_mode_are_remembered_and_their_graphs_can_be_trained_on():
    with torch.inference_mode():
        x = edges()
        graph = as_graph(x, NODES)
        assert as_graph(x, NODES) is graph
        graph.csr_transposed(), graph.degrees()
        made = EdgeListGraph(x, NODES)
    for kept in (graph, made):
        assert not any(array.is_inference() for array in (kept.edge_index(), *kept.by_query()[:2], kept.degrees()))
        nodes = torch.randn(NODES, 1, 4, requires_grad=True)
        messages = nodes[kept.edge_index()[0]]
        torch.autograd.grad(messages.sum(), nodes)
        (grad,) = torch.autograd.grad(attend(nodes, nodes, nodes, kept).square().sum(), nodes, create_graph=True)
        torch.autograd.grad(grad.sum(), nodes)


@every_form
def test_a_graph_ends_with_its_tensor(form):
    x = form(edges())
    alive = weakref.ref(as_graph(x, NODES))
    assert alive() is not None
    del x
    gc.collect()
    assert alive() is None


def test_a_graph_of_earlier_numbers_ends():
    x = edges()
    alive = weakref.ref(as_graph(x, NODES))
    in_numpy(x, edges(1))
    as_graph(x, NODES)
    gc.collect()
    assert alive() is None


def test_a_new_tensor_in_every_step_leaves_nothing():
    gc.collect()
    before, alive = len(_READ), []
    for step in range(20):
        x = edges(step)
        alive.append(weakref.ref(as_graph(x, NODES)))
        attend(*[torch.ones(NODES, 1, 2)] * 3, x)
    del x
    gc.collect()
    assert len(_READ) == before and not any(graph() for graph in alive)


def test_one_tensor_has_few_graphs():
    x = edges()
    alive = [weakref.ref(as_graph(x, NODES + number)) for number in range(20)]
    gc.collect()
    assert sum(graph() is not None for graph in alive) <= 4


def slow(function):
    def call(*arguments):
        time.sleep(0.05)  # so that all threads are in the middle of it
        return function(*arguments)

    return call


def test_threads_get_one_graph(monkeypatch):
    monkeypatch.setattr("graphattn.graphs.forms.copied", slow(copied))
    monkeypatch.setattr("graphattn.graphs.edge_list.compress_edges", slow(compress_edges))
    x, graphs = edges(), []
    barrier = threading.Barrier(4)

    def read():
        barrier.wait()
        graph = as_graph(x, NODES)
        graphs.append((graph, graph.by_query()))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(graph) for graph, _ in graphs}) == 1
    assert len({id(csr) for _, csr in graphs}) == 1


# Copies and comparisons -----------------------------------------------------------------------------------------------


@every_form
def test_a_snapshot_is_plain_and_has_its_own_memory(form):
    x = form(edges())
    copy = snapshot(x)
    assert type(copy) is torch.Tensor and copy.is_contiguous() and copy.dtype == x.dtype
    assert torch.equal(copy, plain(x)) and copy.untyped_storage().data_ptr() != plain(x).untyped_storage().data_ptr()
    assert shows(plain(x), copy)


@pytest.mark.parametrize("other", [edges().int(), edges()[:, 1:], edges()[:1], edges(1), edges().to("meta")])
def test_what_differs_in_form_or_numbers(other):
    assert not shows(other, edges())


def test_a_tensor_without_numbers():
    assert shows(edges().to("meta"), edges().to("meta"))


def test_tensors_are_not_read_while_a_cuda_graph_is_captured(monkeypatch):
    device = torch.device("cuda", 0)
    on_cuda = types.SimpleNamespace(shape=(2, 3), dtype=torch.int64, device=device, is_cuda=True)
    monkeypatch.setattr("graphattn.graphs.snapshots.plain", lambda x: x)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(ValueError, match=r"while a CUDA graph is captured.*as_graph\(x"):
        shows(on_cuda, on_cuda)


def test_many_numbers_are_kept_in_short():
    x = torch.randint(NODES, (2, MANY))
    short = in_short(x)
    assert short.dtype == torch.int32 and torch.equal(short, x.int()) and shows(x, short)
    assert in_short(x[:, :10]).dtype == torch.int64  # torch compares few numbers as fast
    assert in_short(x.int()).dtype == torch.int32 and in_short(x.short()).dtype == torch.int16


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 2**63 - 1])
def test_numbers_that_do_not_fit_are_kept_as_they_are(number):
    x = torch.randint(NODES, (2, MANY))
    x[1, 5] = number
    assert in_short(x) is x and shows(x.clone(), x)


@pytest.mark.parametrize("loops", [True, False])
def test_a_number_whose_lower_half_is_the_same_is_another(loops, monkeypatch):
    x = torch.randint(NODES, (2, MANY))
    short = in_short(x)
    if not loops:
        monkeypatch.setattr("graphattn.graphs.snapshots.loops_for", lambda *_: None)
    assert shows(x, short) and shows(x.t().contiguous().t(), short)
    x[0, 7] += 2**32
    assert not shows(x, short)


def test_a_graph_of_many_edges_follows_its_tensor():
    x = torch.randint(NODES, (2, MANY))
    graph = as_graph(x, NODES)
    assert as_graph(x, NODES) is graph
    x[1, -1] += 2**32
    with pytest.raises(ValueError, match="names query 429496"):
        as_graph(x, NODES)


def test_threads_that_ask_for_other_sizes_of_one_tensor():
    x, errors, until = edges(), [], time.monotonic() + 3
    before = sys.getswitchinterval()

    def ask(number):
        try:
            while time.monotonic() < until and not errors:
                number += 1
                graph = as_graph(x, NODES + number % 13, NODES + number % 5)
                assert graph.shape == (NODES + number % 13, NODES + number % 5)
        except BaseException as error:  # of a thread nobody would hear
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not errors


@pytest.mark.parametrize("sizes", [torch.tensor(20), [20], np.array([20])], ids=["tensor", "list", "array"])
def test_sizes_that_are_written_are_read_again(sizes):
    x = edges()
    assert as_graph(x, NODES, sizes).num_keys == 20
    sizes[slice(None) if isinstance(sizes, list) else ...] = [25] if isinstance(sizes, list) else 25
    assert as_graph(x, NODES, sizes).num_keys == 25


@pytest.mark.parametrize("wrong", [20.0, "20", torch.tensor(20.0)], ids=str)
def test_sizes_of_other_types_are_refused_after_the_right_ones_too(wrong):
    x = edges()
    as_graph(x, NODES, 20)
    with pytest.raises(TypeError, match="'num_keys' must be an integer"):
        as_graph(x, NODES, wrong)


def test_edges_that_vmap_maps_over_are_refused():
    with pytest.raises(ValueError, match=r"vmap cannot map over edges.*got \[2, 40\] of each"):
        torch.func.vmap(lambda x: as_graph(x, NODES).mask())(torch.stack([edges(), edges(1)]))
