"""Loops in torch's own threads, in a pool of Python's, in forked processes, and when Ctrl-C comes."""

import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from graphattn import EdgeListGraph, attend
from graphattn.kernels.native import threads
from graphattn.kernels.native.library import why_not_native
from graphattn.kernels.native.threads import MOST_PIECES, PIECE, count_pieces, openmp

pytestmark = pytest.mark.skipif(why_not_native() is not None, reason="the loops in C are not there")


@pytest.fixture(autouse=True, params=["torch's threads", "a pool"])
def way(request, monkeypatch):
    if request.param == "a pool":
        monkeypatch.setattr(threads, "openmp", lambda: None)
    elif openmp() is None:
        pytest.skip("torch does not run on GNU's OpenMP here")
    before = torch.get_num_threads()
    yield request.param
    torch.set_num_threads(before)


def problem():
    """Large enough for several pieces of work."""
    generator = torch.Generator().manual_seed(0)
    graph = EdgeListGraph(torch.randint(300, (2, 20_000), generator=generator), 300)
    tensors = [torch.randn(300, 4, 16, generator=generator).requires_grad_() for _ in range(3)]
    return graph, tensors


def results(graph, tensors):
    out = attend(*tensors, graph, kernel="edges_cpu")
    return [out.detach(), *torch.autograd.grad(out.square().sum(), tensors)]


def test_pieces_depend_on_the_work_alone():
    assert [count_pieces(work) for work in (0, PIECE, 7 * PIECE, 10**12)] == [1, 1, 7, MOST_PIECES]


def test_any_number_of_threads_gives_the_same_bits(way):
    graph, tensors = problem()
    torch.set_num_threads(1)
    wanted = results(graph, tensors)
    for count in (2, 3, 5):
        torch.set_num_threads(count)
        for actual, right in zip(results(graph, tensors), wanted):
            assert torch.equal(actual, right)


def test_several_callers_at_once(way):
    graph, tensors = problem()
    torch.set_num_threads(2)
    wanted = results(graph, tensors)[0]
    with ThreadPoolExecutor(4) as executor:
        found = list(executor.map(lambda _: results(graph, tensors)[0], range(40)))
    assert all(torch.equal(actual, wanted) for actual in found)


def answer(connection, graph, tensors):
    with torch.no_grad():
        out = attend(*tensors, graph, kernel="edges_cpu")
    connection.send(out.numpy().tobytes())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_threads_of_its_own(way):
    torch.set_num_threads(2)
    graph, tensors = problem()
    with torch.no_grad():  # the parent has threads now, which do not survive
        wanted = attend(*tensors, graph, kernel="edges_cpu")
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=answer, args=(sender, graph, tensors))
    child.start()
    try:
        assert receiver.poll(30), "the forked process does not answer"
        assert receiver.recv() == wanted.numpy().tobytes()
    finally:
        child.kill()
        child.join()


SIGNALS = """
import random, signal, sys
import torch
from graphattn.kernels.native import threads
from tests.kernels.native.test_threads import problem, results

if sys.argv[1] == "a pool":
    threads.openmp = lambda: None
torch.set_num_threads(2)
graph, tensors = problem()
wanted = results(graph, tensors)
came = caught = wrong = 0

def interrupt(*_):
    global came
    came += 1
    raise TimeoutError

signal.signal(signal.SIGALRM, interrupt)
random.seed(0)
for _ in range(100):
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 5e-3))
            before = came
            for _ in range(20):
                wrong += any(not torch.equal(x, y) for x, y in zip(results(graph, tensors), wanted))
                if came > before:
                    break
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except TimeoutError:
        caught += 1
print(came - caught, wrong, came > 60)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_an_exception_of_a_signal_reaches_the_caller_and_spoils_nothing(way):
    command = [sys.executable, "-W", "ignore", "-c", SIGNALS, way]
    result = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert result.stdout.split() == ["0", "0", "True"], result.stdout + result.stderr
