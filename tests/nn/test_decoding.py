import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, EdgeListGraph, GlobalGraph, PrefixGraph, batch_graphs, causal
from graphattn.nn import ALiBi, LanguageModel, PerLayer, RelativeBias, RotaryPositions, Seq2Seq, T5Bias
from graphattn.nn.decoding import Decoding
from tests.nn.test_encoder import randomize

LENGTH = 14


def random_causal():
    torch.manual_seed(5)
    edges = torch.randint(LENGTH, (2, 40)).sort(0).values
    return EdgeListGraph(torch.cat([edges, torch.arange(LENGTH).expand(2, -1)[:, ::2]], 1), LENGTH).coalesce()


GRAPHS = {
    "causal": causal(LENGTH),
    "band": BandedGraph(LENGTH, 3, 0),
    "dilated": BandedGraph(LENGTH, 2, 0, dilation=2),
    "strictly_before": BandedGraph(LENGTH, 2, 0, offset=-1),
    "band_and_first": causal(LENGTH) & (BandedGraph(LENGTH, 2, 2) | GlobalGraph(LENGTH, [0])),
    "edges": random_causal(),
}
POSITIONS = {
    "sinusoidal": {},
    "rotary": {"positions": RotaryPositions(), "encoding": None},
    "alibi": {"edge_bias": ALiBi(2), "encoding": None},
    "relative": {"edge_bias": RelativeBias(2, 3), "norm_first": True},
    "t5": {"edge_bias": T5Bias(2, 8, 6, bidirectional=False), "kv_heads": 1},
    "gate": {"gate": True},
}


def prefix(graph, count):
    """The first nodes by plain selection of edges."""
    edges = graph.edge_index()
    return EdgeListGraph(edges[:, edges.max(0).values < count], count)


def full_pass(model, text, graph, *source):
    """Scores of the next token after each token, by one pass over everything."""
    if source:
        return model(source[0], text, source[1], prefix(graph, len(text)))
    return model(text, prefix(graph, len(text)))


def check_steps(model, graph, texts, prompts, sources=(), **source):
    """Read ragged prompts, then one token after the other, each text to its end."""
    decoding = model.start(len(texts), graph, **source)
    full = [full_pass(model, text, graph, *(sources[i] if sources else ())) for i, text in enumerate(texts)]
    read = list(prompts)
    scores = decoding.advance(torch.cat([text[:count] for text, count in zip(texts, read)]), read)
    alive = list(range(len(texts)))
    while True:
        wanted = torch.stack([full[number][read[number] - 1] for number in alive])
        torch.testing.assert_close(scores, wanted, rtol=1e-10, atol=1e-10)
        rows = [row for row, number in enumerate(alive) if read[number] < len(texts[number])]
        if not rows:
            return
        decoding.select(torch.tensor(rows))
        alive = [alive[row] for row in rows]
        scores = decoding.advance(torch.stack([texts[number][read[number]] for number in alive]))
        for number in alive:
            read[number] += 1


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize("options", POSITIONS.values(), ids=POSITIONS)
def test_step_by_step_equals_one_pass(graph, options):
    torch.manual_seed(0)
    model = randomize(LanguageModel(9, 8, 2, 2, **options).double())
    texts = [torch.randint(9, (count,)) for count in (14, 5, 10)]
    with torch.no_grad():
        check_steps(model, graph, texts, [6, 5, 1])


@pytest.mark.parametrize("name", ["causal", "band"])
def test_a_memory_is_read_as_in_one_pass(name):
    torch.manual_seed(0)
    model = randomize(Seq2Seq(7, 9, 8, 2, 2, norm_first=True).double())
    texts, source = [torch.randint(9, (count,)) for count in (8, 6)], torch.randint(7, (9,))
    sources = [(source[:2], CompleteGraph(2)), (source[2:], CompleteGraph(7))]
    with torch.no_grad():
        options = {"source": source, "source_graph": CompleteGraph([2, 7])}
        check_steps(model, GRAPHS[name], texts, [1, 3], sources, **options)


PREFIXES = {
    "prefix of all": (PrefixGraph(LENGTH, 4), [6, 4, 5]),
    "prefix of each": (PrefixGraph([LENGTH] * 3, [6, 0, 3]), [6, 1, 5]),
    "ragged": (PrefixGraph([LENGTH, 5, 11], [6, 2, 9]), [7, 2, 9]),
    "all prompt": (PrefixGraph([LENGTH, 5, 11], [6, 5, 9]), [7, 5, 9]),
    "prefix in a band": (PrefixGraph([LENGTH] * 3, [6, 0, 3]) & BandedGraph([LENGTH] * 3, 4, 3), [6, 1, 5]),
    "batch": (batch_graphs([causal(LENGTH), PrefixGraph(LENGTH, 3), BandedGraph(LENGTH, 2, 0)]), [3, 3, 1]),
}


@pytest.mark.parametrize(("graph", "prompts"), PREFIXES.values(), ids=PREFIXES)
@pytest.mark.parametrize("options", POSITIONS.values(), ids=POSITIONS)
def test_a_prefix_is_read_as_a_whole(graph, prompts, options):
    torch.manual_seed(0)
    model = randomize(LanguageModel(9, 8, 2, 2, **options).double())
    texts = [torch.randint(9, (count,)) for count in (14, 5, 10)]
    examples = graph.examples() if graph.num_examples > 1 else [graph] * 3
    with torch.no_grad():
        decoding, read = model.start(3, graph), list(prompts)
        # By the mask alone: the edges of each text, whose kind is no longer known.
        full = [masked_pass(model, text, example) for text, example in zip(texts, examples)]
        scores = decoding.advance(torch.cat([text[:count] for text, count in zip(texts, read)]), read)
        alive = [0, 1, 2]
        while alive:
            wanted = torch.stack([full[number][read[number] - 1] for number in alive])
            torch.testing.assert_close(scores, wanted, rtol=1e-10, atol=1e-10)
            rows = [row for row, number in reversed(list(enumerate(alive))) if read[number] < len(texts[number])]
            alive = [alive[row] for row in rows]
            if alive:
                decoding.select(torch.tensor(rows))  # in another order every time
                scores = decoding.advance(torch.stack([texts[number][read[number]] for number in alive]))
            for number in alive:
                read[number] += 1


def masked_pass(model, text, graph):
    stack, edges = model.decoder, prefix(graph, len(text))
    return model.lin_out(stack(model.embedding(text, torch.arange(len(text))), edges))


def test_a_memory_and_a_prefix():
    torch.manual_seed(0)
    model = randomize(Seq2Seq(7, 9, 8, 2, 2).double())
    source, text, graph = torch.randint(7, (4,)), torch.randint(9, (8,)), PrefixGraph(8, 3)
    with torch.no_grad():
        wanted = model(source, text, CompleteGraph(4), graph)
        decoding = model.start(1, graph, source, CompleteGraph(4))
        scores = [decoding.advance(text[:3], [3])] + [decoding.advance(token[None]) for token in text[3:]]
    torch.testing.assert_close(torch.cat(scores), wanted[2:], rtol=1e-10, atol=1e-10)


def test_several_tokens_at_a_time():
    torch.manual_seed(0)
    model = randomize(LanguageModel(9, 8, 2, 2).double())
    texts, graph = torch.randint(9, (2, 9)), GRAPHS["band_and_first"]
    with torch.no_grad():
        decoding = model.start(2, graph)
        decoding.advance(torch.cat([texts[0, :2], texts[1, :1]]), [2, 1])
        scores = decoding.advance(torch.cat([texts[0, 2:5], texts[1, 1:]]), [3, 8])
        wanted = torch.stack([full_pass(model, texts[0], graph)[4], full_pass(model, texts[1], graph)[8]])
    torch.testing.assert_close(scores, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("graph", "kept"), [("band", [3, 3]), ("dilated", [4, 4]), ("causal", [8, 5])])
def test_nothing_is_kept_that_is_not_seen_again(graph, kept):
    decoding = LanguageModel(9, 8, 2, 2).start(2, GRAPHS[graph])
    decoding.advance(torch.randint(9, (9,)), [6, 3])
    for _ in range(2):
        decoding.advance(torch.randint(9, (2,)))
    assert decoding.windows[0].counts.tolist() == kept
    assert decoding.num_kept == [sum(kept)] * 2
    assert all(cache.key.size(0) == cache.value.size(0) == sum(kept) for cache in decoding.caches)


def test_a_prefix_in_a_band_is_forgotten():
    decoding = LanguageModel(9, 8, 1, 2).start(2, PrefixGraph([9, 9], [3, 2]) & BandedGraph([9, 9], 3, 2))
    decoding.advance(torch.randint(9, (9,)), [5, 4])
    assert decoding.windows[0].pos.tolist() == [2, 3, 4, 1, 2, 3]


def test_each_layer_has_its_graph_and_keeps_what_it_sees_again():
    torch.manual_seed(0)
    model = randomize(LanguageModel(9, 8, 3, 2, edge_bias=ALiBi(2)).double())
    text, graphs = torch.randint(9, (12,)), [GRAPHS[name] for name in ("band", "causal", "band")]
    with torch.no_grad():
        wanted = model(text, PerLayer([prefix(graph, 12) for graph in graphs]))
        decoding = model.start(1, PerLayer(graphs))
        scores = [decoding.advance(text[:5], [5])] + [decoding.advance(token[None]) for token in text[5:]]
    torch.testing.assert_close(torch.cat(scores), wanted[4:], rtol=1e-10, atol=1e-10)
    assert decoding.num_kept == [3, 12, 3]


def test_a_global_first_node_stays_in_a_band():
    decoding = LanguageModel(9, 8, 1, 2).start(1, GRAPHS["band_and_first"])
    decoding.advance(torch.randint(9, (8,)), [8])
    assert decoding.windows[0].pos.tolist() == [0, 6, 7]


def test_examples_may_be_repeated_and_dropped():
    torch.manual_seed(0)
    model = randomize(Seq2Seq(7, 9, 8, 2, 2).double())
    source = {"source": torch.randint(7, (9,)), "source_graph": CompleteGraph([2, 7])}
    texts = torch.randint(9, (2, 3))
    with torch.no_grad():
        decoding = model.start(2, causal(6), **source)
        decoding.advance(texts.flatten(), [3, 3])
        decoding.select(torch.tensor([1, 0, 1]))
        scores = decoding.advance(torch.tensor([4, 5, 4]))
        plain = model.start(2, causal(6), **source)
        plain.advance(texts.flatten(), [3, 3])
        wanted = plain.advance(torch.tensor([5, 4]))
    torch.testing.assert_close(scores, wanted[[1, 0, 1]], rtol=1e-10, atol=1e-10)


def test_bad_input_is_named():
    model = LanguageModel(9, 8, 1, 2)
    with pytest.raises(ValueError, match="must be causal"):
        model.start(1, BandedGraph(5, 1, 1))
    with pytest.raises(ValueError, match="must be one Graph"):
        model.start(2, causal([5, 5]))
    with pytest.raises(ValueError, match="one example for each of 3 .got PrefixGraph"):
        model.start(3, PrefixGraph([5, 5], 2))
    with pytest.raises(ValueError, match="make the band without 'num_keys'"):
        model.start(1, BandedGraph(5, 2, 0, num_keys=5, offset=-1))
    with pytest.raises(ValueError, match=r"the first 3 tokens of the example at once .got 2"):
        model.start(2, PrefixGraph([5, 5], [2, 3])).advance(torch.zeros(4, dtype=torch.long), [2, 2])
    with pytest.raises(ValueError, match="the graph has 3 nodes .got an example of 4"):
        model.start(1, causal(3)).advance(torch.zeros(4, dtype=torch.long), [4])
    with pytest.raises(ValueError, match=r"number of tokens, 3 .got \[1, 1\]"):
        model.start(2, causal(3)).advance(torch.zeros(3, dtype=torch.long))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: torch.nn.Linear(3, 3), "got Linear, without 'embedding', 'decoder', 'lin_out'"),
        (
            lambda: torch.nn.ModuleDict({name: torch.nn.Identity() for name in ("embedding", "decoder")}),
            "without 'lin_out'",
        ),
        (
            lambda: torch.nn.ModuleDict({name: torch.nn.Identity() for name in ("embedding", "decoder", "lin_out")}),
            "without layers of its decoder",
        ),
    ],
)
def test_models_without_the_parts_that_are_needed(make, words):
    with pytest.raises(TypeError, match=words):
        Decoding(make(), causal(9), 1)
