"""Random calls of `attend` beside attention by plain loops in float64: outputs, gradients, weights, and the kernel that runs.

    python -m tests.fuzz --cases 20000 --seed 0

Case number i of a run is drawn from seed + i alone. What fails is printed as one line that runs it again.
"""

import argparse
import random
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import Tensor

from graphattn import (
    BandedGraph,
    CompleteGraph,
    GlobalGraph,
    GridGraph,
    PrefixGraph,
    attend,
    attention_weights,
    batch_graphs,
    causal,
    choose_kernel,
    memory_budget,
)
from graphattn.kernels.choose import KERNELS
from graphattn.nn import Additive, ALiBi, Bilinear, Cosine, Gat, Gaussian, Relu, Sigmoid, Softmax, TopK
from graphattn.running import execution
from graphattn.testing.cases import (
    banded_edges,
    complement_edges,
    complete_edges,
    edge_list,
    global_edges,
    grid_edges,
    in_order,
    neighborhood_edges,
    shifted_grid_edges,
    side_by_side,
)
from graphattn.testing.layouts import LAYOUTS
from graphattn.testing.loops import loop_attention, sees_features
from graphattn.testing.tolerance import TOLERANCE

KERNEL_NAMES = [kernel.name for kernel in KERNELS if "cpu" not in kernel.only_by_name]  # what is for tests here is slow
DTYPES = {torch.float64: 4, torch.float32: 4, torch.bfloat16: 1, torch.float16: 1}  # how often
# Numbers are compared with the largest of their tensor; sharp softmax and long sums are less exact than those of TOLERANCE.
SLACK = {torch.float64: 20, torch.float32: 20, torch.float16: 6, torch.bfloat16: 6}


MOST_PAIRS = 1000  # of a graph whose complement is taken


@dataclass
class Case:
    """One call. `says` is what it is made of, in words."""

    seed: int
    says: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.random = random.Random(self.seed)
        torch.manual_seed(self.seed)
        self.graph, self.sizes, self.edges = self.draw_graph()
        # A grid has distances of its own, and a band with an offset positions that start there: they have tests of their own.
        self.is_line = not any(words.startswith("grid") or "offset=" in words for words in self.says)
        (self.dtype,) = self.random.choices(list(DTYPES), DTYPES.values())
        self.kv_heads = self.random.choice([1, 1, 2, 3])
        self.heads = self.kv_heads * self.random.choice([1, 1, 2])
        self.dim, self.value_dim = self.pick([1, 2, 3, 5, 8, 9, 16, 17]), self.pick([1, 3, 4, 8, 11, 16])
        self.options: dict[str, Any] = {}
        self.leaves: dict[str, Tensor] = {}
        self.oracle: dict[str, Any] = {}
        self.degree_scaled = False
        self.draw_nodes()
        if self.random.random() < 0.6:  # else plain attention, which every kernel has
            self.draw_edges()
            self.draw_score()
            self.draw_normalizer()
        self.kernel = self.pick([None, None, None, "edges", "banded", *KERNEL_NAMES])
        self.budget = self.pick([None] * 8 + [1, 2000])
        # Squares of a rounded result are off by more than a tolerance says.
        self.loss = self.pick(["random", "sum", "mean", "mean" if self.dtype.itemsize == 2 else "squares"])
        self.twice = self.dtype is torch.float64 and self.random.random() < 0.2
        self.says.append(
            f"{self.dtype} heads={self.heads}/{self.kv_heads} dim={self.dim}/{self.value_dim} kernel={self.kernel}"
            f" budget={self.budget} loss={self.loss}{' twice' if self.twice else ''}"
        )

    def pick(self, choices):
        return self.random.choice(choices)

    def say(self, words: str, value):
        self.says.append(words)
        return value

    # Graphs ----------------------------------------------------------------------------------------------------------

    def draw_graph(self) -> tuple[Any, tuple[int, int], list]:
        """A graph or what stands for one, (num_queries, num_keys), and its edges by loops."""
        kind = self.pick([*SIMPLE, *SIMPLE, "batch", "union", "transposed", "complement", "list"])
        if kind in SIMPLE:
            return self.say(*SIMPLE[kind](self.random))
        if kind in ("batch", "list"):
            members = [
                self.say(*SIMPLE[self.pick(list(SIMPLE_GRAPHS))](self.random)) for _ in range(self.pick([1, 2, 3]))
            ]
            sizes = [size for _, size, _ in members]
            edges = side_by_side(*((*size, edges) for _, size, edges in members))
            graphs = [graph for graph, _, _ in members]
            total = tuple(sum(size[axis] for size in sizes) for axis in (0, 1))
            return self.say(kind, (batch_graphs(graphs) if kind == "batch" else graphs, total, edges))
        if kind == "union":
            n, before, after = self.random.randint(1, 12), self.random.randint(0, 3), self.random.randint(0, 3)
            nodes = self.random.sample(range(n), self.pick([0, 1]))
            graph = BandedGraph(n, before, after) | GlobalGraph(n, nodes)
            edges = in_order(banded_edges(n, n, before, after) + global_edges(n, nodes))
            return self.say(f"band({n}, {before}, {after}) | global({nodes})", (graph, (n, n), edges))
        graph, (queries, keys), edges = self.say(*SIMPLE[self.pick(list(SIMPLE_GRAPHS))](self.random))
        if kind == "transposed":
            return self.say("T", (graph.T, (keys, queries), [(query, key) for key, query in edges]))
        # Over thousands of pairs the plain loops take seconds.
        if graph.num_examples > 1 or graph.has_repeats or queries * keys > MOST_PAIRS:
            return graph, (queries, keys), edges
        return self.say("~", (~graph, (queries, keys), complement_edges(queries, keys, edges)))

    # Tensors ---------------------------------------------------------------------------------------------------------

    def tensor(self, name: str, *shape: int) -> Tensor:
        return self.lay_out(name, torch.randn(shape, dtype=torch.float64).to(self.dtype))

    def lay_out(self, name: str, x: Tensor) -> Tensor:
        layout = self.pick([None, *LAYOUTS]) if self.random.random() < 0.4 else None
        if layout is None:
            return x
        self.says.append(f"{name}: {layout}")
        return LAYOUTS[layout](x)

    def leaf(self, name: str, *shape: int) -> Tensor:
        x = self.tensor(name, *shape).detach()
        self.leaves[name] = x.requires_grad_(self.random.random() < 0.8)
        return self.leaves[name]

    def draw_nodes(self) -> None:
        num_queries, num_keys = self.sizes
        self.leaf("query", num_queries, self.heads, self.dim)
        self.leaf("key", num_keys, self.kv_heads, self.dim)
        self.leaf("value", num_keys, self.kv_heads, self.value_dim)
        scale = self.pick([None, None, None, 0.3, 0.0, -0.7])
        if scale is not None:
            self.says.append(f"scale={scale}")
            self.options["scale"] = self.oracle["scale"] = scale

    def draw_edges(self) -> None:
        bias = self.pick([None, None, None, "edges", "heads", "column", "rule" if self.is_line else "column"])
        if bias == "rule":
            self.says.append("ALiBi")
            self.options["bias"] = rule = ALiBi(self.heads)
            self.rule = rule
        elif bias is not None:
            self.says.append(f"bias of {bias}")
            shape = {"edges": (), "heads": (self.heads,), "column": (1,)}[bias]
            x = torch.randn(len(self.edges), *shape, dtype=torch.float64).to(self.dtype)
            x = x.masked_fill(torch.rand(x.shape) < self.pick([0.0, 0.3, 1.0]), -torch.inf)
            self.leaves["bias"] = self.lay_out("bias", x).detach().requires_grad_(self.random.random() < 0.8)
        if self.random.random() < 0.3:
            edge_dim, of_heads = self.pick([1, 2, 8, 9]), self.pick([(), (), (self.heads,)])
            self.says.append(f"{edge_dim} features{' of each head' if of_heads else ''}")
            self.leaf("edge_features", len(self.edges), *of_heads, edge_dim)
            if self.random.random() < 0.7:
                self.leaf("edge_query", self.sizes[0], self.heads, edge_dim)
            if self.random.random() < 0.3:
                self.options["edge_sum"] = self.say("no sum", False)

    def draw_score(self) -> None:
        name = self.pick(["dot", "dot", "dot", "dot", *SCORES])
        if name == "dot" or (name.endswith("_edges") and "edge_features" not in self.leaves):
            return
        if name == "cosine" and self.dim == 1:
            return  # a sign, whose derivative of 0 is a difference of large numbers
        if name == "gatv2" and self.dtype.itemsize == 2:
            return  # sums of half precision are often 0, where LeakyReLU has any derivative between its two slopes
        self.says.append(name)
        shapes, make, formula = SCORES[name]
        edge_dim = self.leaves["edge_features"].size(-1) if "edge_features" in self.leaves else 0
        sizes = {"h": self.heads, "k": self.kv_heads, "d": self.dim, "e": edge_dim}
        parameters = []
        for parameter, axes in shapes.items():
            x = torch.randn([sizes[axis] for axis in axes], dtype=torch.float64).to(self.dtype)
            x = 2 + x.abs() if parameter == "positive" else x
            self.leaves[parameter] = self.lay_out(parameter, x).detach().requires_grad_()
            parameters.append(parameter)
        self.options["score"], self.oracle["score"] = (make, parameters), (formula, parameters)

    def draw_normalizer(self) -> None:
        name = self.pick(["softmax"] * 4 + NORMALIZERS)
        has_ties = "cosine" in self.says or any(words.startswith("key: one_") for words in self.says)
        if name.startswith("top_") and (self.dtype.itemsize == 2 or has_ties):
            name = "softmax"  # rounding decides which of nearly equal scores are among the largest
        if name == "sparsemax" and has_ties and "ALiBi" in self.says:
            name = "softmax"  # a score may be the threshold itself, where weights have no derivative
        self.says.append(name)
        if name == "sink":
            self.leaves["sink"] = self.tensor("sink", self.heads).detach().requires_grad_()
        elif name.startswith("top_"):
            self.options["normalizer"] = TopK(int(name[4:]))
            self.oracle["normalizer"] = ("top_k", int(name[4:]))
        elif name.endswith("by_degree"):
            self.degree_scaled = True
            self.oracle["normalizer"] = name.split()[0]
            self.options["normalizer"] = {"relu": Relu, "sigmoid": Sigmoid}[name.split()[0]](scale_by_degree=True)
        else:
            self.options["normalizer"] = self.oracle["normalizer"] = name
        if name == "softmax" and self.random.random() < 0.4:
            self.options["return_lse"] = self.say("lse", True)

    # Running ---------------------------------------------------------------------------------------------------------

    def arguments(self) -> dict[str, Any]:
        found = {**self.leaves, **self.options}
        if "score" in found:
            make, parameters = found["score"]
            found["score"] = make(*(found.pop(parameter) for parameter in parameters))
        if "sink" in found:
            found["normalizer"] = Softmax(found.pop("sink"))
        return found

    def expected(self) -> tuple[dict[str, Tensor], list[Tensor], Tensor]:
        leaves = {k: v.detach().double().requires_grad_(v.requires_grad) for k, v in self.leaves.items()}
        found = {**leaves, **self.oracle}
        if "score" in found:
            formula, parameters = found["score"]
            found["score"] = (formula, *(found.pop(parameter) for parameter in parameters))
        if "sink" in found:
            found["normalizer"] = ("softmax", found.pop("sink"))
        if callable(self.options.get("bias")):
            # A rule is asked for all pairs at once: that its numbers are those of the edges is what is compared.
            slopes, first = self.rule.slopes.double(), offsets_of_examples(self.graph, self.sizes)
            distance = torch.tensor(
                [abs((k - first[q][1]) - (q - first[q][0])) for k, q in self.edges], dtype=torch.float64
            )
            found["bias"] = -distance[:, None] * slopes
        if "bias" in leaves:
            found["bias"] = leaves["bias"].expand(-1, self.heads) if leaves["bias"].dim() > 1 else leaves["bias"]
        out, edge_out, weights, lse = loop_attention(edges=self.edges, **found)
        outputs = [out]
        if edge_out is not None and self.options.get("edge_sum", True):
            outputs.append(edge_out)
        if "return_lse" in self.options:
            outputs.append(lse)
        if self.degree_scaled:
            degrees = torch.zeros(self.sizes[0], dtype=torch.float64)
            for _, query in self.edges:
                degrees[query] += 1
            outputs = [x / degrees.clamp(min=1)[:, None, None] for x in outputs]
            queries = torch.tensor([query for _, query in self.edges], dtype=torch.long)
            weights = weights / degrees[queries, None]
        return leaves, outputs, weights

    def run(self) -> str:
        """The kernels that ran. Raises AssertionError where something differs."""
        arguments, kernel = self.arguments(), self.kernel
        ran = []
        try:
            with memory_budget(self.budget) if self.budget else nullcontext(), recorded(ran):
                result = attend(graph=self.graph, kernel=kernel, **arguments)
        except ValueError as error:
            if kernel is None or "can run this" not in str(error):
                raise
            refused(self, kernel, arguments)
            kernel = None
            with recorded(ran):
                result = attend(graph=self.graph, **arguments)
        with_lse, _ = arguments.pop("return_lse", False), arguments.pop("edge_sum", True)
        chosen = choose_kernel(self.graph, **arguments, kernel=kernel).kernel.split(" + ")
        assert self.budget or set(ran) <= set(chosen), f"choose_kernel says {chosen}, but {ran} ran"
        outputs = [result] if isinstance(result, Tensor) else list(result)
        leaves, wanted, weights = self.expected()
        for number, (actual, right) in enumerate(zip(outputs, wanted, strict=True)):
            is_lse = with_lse and number + 1 == len(wanted)
            dtype = torch.float32 if is_lse and self.dtype.itemsize == 2 else self.dtype
            assert actual.dtype == dtype, f"result {number} is {actual.dtype}"
            if is_lse:  # of a query without edges it is -inf, of which a loss would be too
                outputs[-1], wanted[-1] = (x.masked_fill(right == -torch.inf, 0.0) for x in (actual, right))
            self.compare(f"result {number}", outputs[number], wanted[number])
        self.compare_gradients(outputs, leaves, wanted)
        arguments.pop("value")
        self.compare("weights", attention_weights(graph=self.graph, **arguments), weights)
        return " + ".join(sorted(set(ran))) or "nothing"

    def compare_gradients(self, outputs: list[Tensor], leaves: dict[str, Tensor], wanted: list[Tensor]) -> None:
        needed = [name for name, x in self.leaves.items() if x.requires_grad]
        if not needed or not any(x.requires_grad for x in outputs):
            return
        cotangents = [
            self.lay_out("cotangent", torch.randn(x.shape, dtype=torch.float64).to(self.dtype)) for x in outputs
        ]
        losses = {
            "random": lambda xs: sum((x * g.to(x.dtype)).sum() for x, g in zip(xs, cotangents)),
            "sum": lambda xs: sum(x.sum() for x in xs),
            "mean": lambda xs: sum(x.mean() for x in xs if x.numel()) + 0 * xs[0].sum(),
            "squares": lambda xs: sum(x.square().sum() for x in xs),
        }
        own, others = ([x[name] for name in needed] for x in (self.leaves, leaves))
        if self.loss == "random":  # as they are, in their own memory
            found = gradients(outputs, own, cotangents, self.twice)
        else:
            found = gradients([losses[self.loss](outputs)], own, None, self.twice)
        right = gradients([losses[self.loss](wanted)], others, None, self.twice)
        for name, actual, expected in zip(needed, found, right, strict=True):
            assert actual.dtype == self.dtype, f"gradient of {name} is {actual.dtype}"
            self.compare(f"gradient of {name}", actual, expected)
        if self.twice:
            found, right = (
                gradients([sum(x.square().sum() for x in firsts)], xs, None, False)
                for firsts, xs in ((found, own), (right, others))
            )
            for name, actual, expected in zip(needed, found, right, strict=True):
                self.compare(f"second gradient of {name}", actual, expected)

    def compare(self, name: str, actual: Tensor, wanted: Tensor) -> None:
        assert actual.shape == wanted.shape, f"{name} is {list(actual.shape)}, not {list(wanted.shape)}"
        if not wanted.numel():
            return
        size = max(1.0, wanted.detach().abs().max().item())
        off = ((actual.detach().double() - wanted.detach()).abs().max() / size).item()
        assert off <= SLACK[self.dtype] * TOLERANCE[self.dtype], f"{name} off by {off:.3g}"


def gradients(
    outputs: list[Tensor], leaves: list[Tensor], cotangents: list[Tensor] | None, twice: bool
) -> list[Tensor]:
    """Zeros where there is none; to be differentiated again if `twice`."""
    if not any(x.requires_grad for x in outputs):
        return [torch.zeros_like(x) for x in leaves]
    options = {"allow_unused": True, "materialize_grads": True, "create_graph": twice}
    return list(torch.autograd.grad(outputs, leaves, cotangents, **options))


def offsets_of_examples(graph, sizes) -> list[tuple[int, int]]:
    """Of each query the first query and the first key of its example."""
    members = graph if isinstance(graph, list) else [graph]
    pairs = [pair for one in members for pair in getattr(one, "sizes", [sizes])]
    found, query, key = [], 0, 0
    for num_queries, num_keys in pairs:
        found += [(query, key)] * num_queries
        query, key = query + num_queries, key + num_keys
    return found


class recorded:
    """While it lasts, the names of kernels that run are put into a list."""

    def __init__(self, names: list[str]):
        self.names = names

    def __enter__(self):
        self.run_part = execution.run_part

        def run_part(*arguments):
            kernel, result = self.run_part(*arguments)
            self.names.append(kernel.name)
            return kernel, result

        execution.run_part = run_part

    def __exit__(self, *error):
        execution.run_part = self.run_part


def refused(case: Case, kernel: str, arguments: dict) -> None:
    """Where `attend` refuses a kernel, so must `choose_kernel`."""
    try:
        options = {name: x for name, x in arguments.items() if name != "return_lse"}
        choose_kernel(case.graph, **options, kernel=kernel)
    except ValueError:
        return
    raise AssertionError(f"attend refuses {kernel!r}, choose_kernel does not")


# Graphs, and their edges by loops: random.Random -> (words, (graph, sizes, edges)) ---------------------------------------


def complete(r):
    n, m = r.randint(0, 9), r.choice([None, r.randint(0, 9)])
    return f"complete({n}, {m})", (
        CompleteGraph(n, m),
        (n, n if m is None else m),
        complete_edges(n, n if m is None else m),
    )


def ragged(r):
    counts = [r.randint(0, 6) for _ in range(r.randint(1, 4))]
    edges = side_by_side(*((n, n, banded_edges(n, n, n, 0)) for n in counts))
    return f"causal({counts})", (causal(counts), (sum(counts), sum(counts)), edges)


def band(r):
    n, m, before, after = r.randint(0, 20), r.randint(0, 20), r.randint(0, 5), r.randint(0, 5)
    dilation, offset = r.choice([1, 1, 2, 3]), r.choice([0, 0, r.randint(-4, 8)])
    graph = BandedGraph(n, before, after, dilation=dilation, num_keys=m, offset=offset)
    words = f"band({n}, {before}, {after}, dilation={dilation}, num_keys={m}" + (
        f", offset={offset})" if offset else ")"
    )
    return words, (graph, (n, m), banded_edges(n, m, before, after, dilation, offset))


def long_band(r):
    n, before, after = r.randint(30, 90), r.randint(0, 3), r.randint(0, 2)
    return f"band({n}, {before}, {after})", (BandedGraph(n, before, after), (n, n), banded_edges(n, n, before, after))


def prefix(r):
    counts = [r.randint(0, 7) for _ in range(r.randint(1, 3))]
    lengths = [r.randint(0, 5) for _ in counts]
    edges = []
    for n, length in zip(counts, lengths):
        edges.append((n, n, [(k, q) for q in range(n) for k in range(n) if k <= q or k < length]))
    return f"prefix({counts}, {lengths})", (
        PrefixGraph(counts, lengths),
        (sum(counts), sum(counts)),
        side_by_side(*edges),
    )


def grid(r):
    axes = r.randint(1, 3)
    sides = tuple(r.randint(1, 4) for _ in range(axes))
    before, after = (tuple(r.randint(0, 1) for _ in range(axes)) for _ in range(2))
    dilation = tuple(r.choice([1, 1, 2]) for _ in range(axes))
    words = f"grid({sides}, {before}, {after}, dilation={dilation}"
    count = len(list(product(*map(range, sides))))
    if r.random() < 0.3 and all(side >= (b + a + 1) * d for side, b, a, d in zip(sides, before, after, dilation)):
        graph = GridGraph(sides, before, after, dilation=dilation, border="shift")
        return words + ", border='shift')", (graph, (count, count), shifted_grid_edges(sides, before, after, dilation))
    if r.random() < 0.4:
        group, is_causal = tuple(r.randint(1, 3) for _ in sides), tuple(r.random() < 0.3 for _ in sides)
        after = tuple(0 if causal else steps for steps, causal in zip(after, is_causal))
        fits = [side >= (b + a + 1) * d for side, b, a, d in zip(sides, before, after, dilation)]
        border = tuple("shift" if fit and r.random() < 0.5 else "clip" for fit in fits)
        options = {"dilation": dilation, "border": border, "group": group, "is_causal": is_causal}
        edges = neighborhood_edges(sides, before, after, *options.values())
        return f"grid({sides}, {before}, {after}, {options})", (
            GridGraph(sides, before, after, **options),
            (count, count),
            edges,
        )
    graph = GridGraph(sides, before, after, dilation=dilation)
    return words + ")", (graph, (count, count), grid_edges(sides, sides, before, after, dilation, (1,) * axes))


def star(r):
    n = r.randint(1, 8)
    nodes = sorted(r.sample(range(n), r.randint(0, min(n, 2))))
    return f"global({n}, {nodes})", (GlobalGraph(n, nodes), (n, n), global_edges(n, nodes))


def random_edges(r):
    n, m = r.randint(1, 8), r.randint(1, 8)
    edges = [(r.randrange(m), r.randrange(n)) for _ in range(r.randint(0, 25))]
    return n, m, edges if r.random() < 0.5 else in_order(edges)


def given_edges(r):
    n, m, edges = random_edges(r)
    return f"edges({n}, {m}, {edges})", (edge_list(edges, n, m), (n, m), edges)


def heavy_row(r):
    n = r.randint(20, 70)
    edges = [(key, 0) for key in range(n)] + [(r.randrange(n), r.randrange(n)) for _ in range(9)]
    return f"edges of a row with {n}", (edge_list(edges, n), (n, n), edges)


def edge_index(r):
    _, m, edges = random_edges(r)
    edges = [(key, query % m) for key, query in edges]
    dtype = r.choice([torch.int64, torch.int32, torch.int16, torch.uint8])
    x = torch.tensor(edges, dtype=dtype).reshape(-1, 2).t()
    x = r.choice([lambda x: x, lambda x: x.contiguous(), lambda x: torch.stack([x, x], -1)[..., 1]])(x)
    return f"edge_index {dtype}, strides {x.stride()}, of {m} nodes", (x, (m, m), edges)


def mask(r):
    n, m, edges = random_edges(r)
    x = torch.zeros(n, m, dtype=torch.bool)
    for key, query in edges:
        x[query, key] = True
    return f"mask of {n} x {m}", (x, (n, m), in_order(edges))


def sparse(r):
    n, m, edges = random_edges(r)
    edges = in_order(edges)
    places = torch.tensor([(query, key) for key, query in edges], dtype=torch.int64).reshape(-1, 2).t()
    x = torch.sparse_coo_tensor(places, torch.ones(len(edges)), (n, m)).coalesce()
    return f"sparse {n} x {m}", (x.to_sparse_csr() if r.random() < 0.5 else x, (n, m), edges)


SIMPLE_GRAPHS = {x.__name__: x for x in (complete, ragged, prefix, band, long_band, grid, star, given_edges, heavy_row)}
SIMPLE: dict[str, Callable] = {**SIMPLE_GRAPHS, **{x.__name__: x for x in (edge_index, mask, sparse)}}


# Scores: shapes of parameters, the score, its formula for one query and key ----------------------------------------------


@sees_features
def additive_edges(query, key, vector, weight, features):
    return (vector * (query + key + weight @ features).tanh()).sum()


@sees_features
def gatv2_edges(query, key, vector, weight, features):
    return (vector * torch.nn.functional.leaky_relu(query + key + weight @ features, 0.2)).sum()


def gatv2(vector, weight):
    return Additive(vector, weight, "leaky_relu")


SCORES = {
    "gatv2_edges": ({"vector": "hd", "weight": "hde"}, gatv2, gatv2_edges),
    "additive": ({"vector": "hd"}, Additive, lambda q, k, vector: (vector * (q + k).tanh()).sum()),
    "gatv2": (
        {"vector": "hd"},
        lambda vector: Additive(vector, activation="leaky_relu", negative_slope=0.4),
        lambda q, k, vector: (vector * torch.nn.functional.leaky_relu(q + k, 0.4)).sum(),
    ),
    "additive_edges": ({"vector": "hd", "weight": "hde"}, Additive, additive_edges),
    "gat": (
        {"source": "kd", "target": "hd"},
        Gat,
        lambda q, k, source, target: torch.nn.functional.leaky_relu(source @ k + target @ q, 0.2),
    ),
    "cosine": ({"positive": "h"}, Cosine, lambda q, k, t: torch.cosine_similarity(q, k, 0, 1e-30) / t),
    "gaussian": ({"positive": "h"}, Gaussian, lambda q, k, width: -((q - k) / width).square().sum() / 2),
    "bilinear": ({"weight": "hdd"}, Bilinear, lambda q, k, weight: q @ weight @ k),
}
NORMALIZERS = [
    "relu", "squared_relu", "sigmoid", "identity", "sparsemax", "entmax15", "sink", "top_1", "top_3", "relu by_degree",
    "sigmoid by_degree",
]  # fmt: skip


def failures(cases: int, seed: int, counts: Counter | None = None) -> Iterator[str]:
    """Runs so many cases; a line for each that fails."""
    for number in range(seed, seed + cases):
        case = None
        try:
            case = Case(number)
            kernels = case.run()
            if counts is not None:
                counts[kernels] += 1
        except Exception as error:
            words = "; ".join(case.says) if case is not None else "while it was drawn"
            place = traceback.extract_tb(error.__traceback__)[-1]
            yield (
                f"python -m tests.fuzz --cases 1 --seed {number}  # {type(error).__name__} {str(error)[:120]!r}"
                f" ({place.filename.rsplit('/', 1)[-1]}:{place.lineno}) {words}"
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    failed, counts = 0, Counter()
    for line in failures(arguments.cases, arguments.seed, counts):
        failed += 1
        print(line, flush=True)
    print(f"{failed} of {arguments.cases} cases fail; kernels that ran: {dict(counts.most_common())}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
