from itertools import product

import numpy as np
import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, PrefixGraph, causal
from graphattn.nn import LanguageModel, PerLayer, RotaryPositions, Seq2Seq, beam_search, greedy_search, sample
from graphattn.nn.likely import likely
from tests.nn.test_encoder import randomize


def language_model(num_tokens=5):
    """One that does not repeat itself."""
    torch.manual_seed(9)
    model = LanguageModel(num_tokens, 8, 2, 2, norm_first=True, encoding=None, positions=RotaryPositions()).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return model


def log_probability(model, text, prompt_length):
    log_probabilities = model(text, causal(len(text))).log_softmax(-1)
    return sum(log_probabilities[place - 1, text[place]].item() for place in range(prompt_length, len(text)))


PROMPTS = [torch.tensor([1, 2, 3]), torch.tensor([4]), torch.tensor([2, 2])]


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("end", [None, 0, 4])
def test_greedy_takes_the_likeliest_of_the_full_pass(window, end):
    model = language_model()
    texts = greedy_search(model, PROMPTS, 9, end=end, graph=BandedGraph(9, window, 0))
    for prompt, text in zip(PROMPTS, texts):
        wanted = prompt
        while len(wanted) < 9 and (len(wanted) == len(prompt) or wanted[-1] != end):
            scores = model(wanted, BandedGraph(len(wanted), window, 0))
            wanted = torch.cat([wanted, scores[-1:].argmax(-1)])
        assert torch.equal(text, wanted)
    if end == 4:
        assert len({len(text) for text in texts}) > 1


def test_a_beam_as_wide_as_all_texts_finds_the_best():
    model = language_model(4)
    for length_penalty in (0.0, 1.0):
        found = beam_search(model, PROMPTS[:1], 6, beams=64, end=0, length_penalty=length_penalty)[0]
        texts = {}
        for new in product(range(4), repeat=3):
            kept = new[: new.index(0) + 1] if 0 in new else new
            text = torch.tensor([1, 2, 3, *kept])
            with torch.no_grad():
                texts[tuple(text.tolist())] = log_probability(model, text, 3) / ((5 + len(kept)) / 6) ** length_penalty
        wanted = sorted(texts, key=texts.get, reverse=True)
        assert [tuple(text.tokens.tolist()) for text in found[:5]] == wanted[:5]
        assert [text.score for text in found[:5]] == pytest.approx([texts[text] for text in wanted[:5]])


def plain_beam_search(model, prompt, max_length, beams, ends):
    """Beams by full passes over everything, without a cache."""
    alive, finished = [(0.0, prompt.tolist())], []
    while alive:
        grown = []
        for total, text in alive:
            scores = model(torch.tensor(text), causal(len(text)))[-1].log_softmax(-1).tolist()
            grown += [(total + score, [*text, token]) for token, score in enumerate(scores)]
        grown.sort(key=lambda pair: -pair[0])
        alive = []
        for total, text in grown[: (1 + len(ends)) * beams]:
            (finished if text[-1] in ends or len(text) == max_length else alive).append((total, text))
            if len(alive) == beams:
                break
    return sorted(finished, key=lambda pair: -pair[0])[:beams]


@torch.no_grad()
@pytest.mark.parametrize("end", range(5))
@pytest.mark.parametrize("beams", [2, 3])
def test_beams_of_a_ragged_batch(end, beams):
    model = language_model()
    found = beam_search(model, PROMPTS, 7, beams=beams, end=end)
    for prompt, texts in zip(PROMPTS, found, strict=True):
        wanted = plain_beam_search(model, prompt, 7, beams, [end])
        assert [text.tokens.tolist() for text in texts] == [text for _, text in wanted]
        assert [text.score for text in texts] == pytest.approx([total for total, _ in wanted])


# What it writes over --------------------------------------------------------------------------------------------------

SEARCHES = {
    "greedy": greedy_search,
    "sample": lambda *args, **named: sample(*args, top_k=1, **named),
    "beam": lambda *args, **named: [texts[0].tokens for texts in beam_search(*args, beams=2, **named)],
}
every_search = pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)


def equal(texts, others):
    return len(texts) == len(others) and all(map(torch.equal, texts, others))


@every_search
@pytest.mark.parametrize(
    "make",
    [
        causal,
        lambda n: BandedGraph(n, 1, 0),
        lambda n: PerLayer([BandedGraph(n, 1, 0), causal(n)]),
        lambda n: PrefixGraph(n, 2),
    ],
    ids=["causal", "band", "layers", "prefix"],
)
def test_the_graph_of_the_training_is_that_of_the_writing(search, make):
    model, prompts = language_model(), [PROMPTS[0], PROMPTS[2]]
    model(torch.randint(5, (6,)), make(6)).sum().backward()
    wanted = search(model, prompts, 12, graph=make(12))
    assert equal(search(model.eval(), prompts, 12), wanted)
    assert equal(search(model, prompts, 12, graph=make), wanted)  # a function of the number of nodes
    assert not equal(search(model, prompts, 12, graph=BandedGraph(12, 3, 0)), wanted)  # unless told otherwise


@every_search
def test_compiled_models_write_over_the_graph_of_their_training(search):
    torch._dynamo.reset()
    model = language_model()
    compiled = torch.compile(model, backend="eager")
    compiled(torch.randint(5, (6,)), BandedGraph(6, 1, 0))
    wanted = search(model, PROMPTS, 12, graph=BandedGraph(12, 1, 0))
    assert equal(search(compiled, PROMPTS, 12), wanted) and not equal(search(model, PROMPTS, 12, graph=causal), wanted)


@every_search
def test_a_prompt_is_the_prefix_where_prefixes_differ(search):
    model = language_model()
    model(torch.randint(5, (11,)), PrefixGraph([6, 5], [2, 4])).sum().backward()
    found = search(model, PROMPTS, 12)
    assert equal(found, search(model, PROMPTS, 12, graph=PrefixGraph([12] * 3, [3, 1, 2])))
    for prompt, text in zip(PROMPTS, found):
        assert torch.equal(text, search(model, [prompt], 12)[0])
    if search is greedy_search:
        text = PROMPTS[0]
        while len(text) < 12:
            text = torch.cat([text, model(text, PrefixGraph(len(text), 3))[-1:].argmax(-1)])
        assert torch.equal(found[0], text)


@every_search
def test_pairs_write_over_the_graph_of_their_training(search):
    torch.manual_seed(4)
    model = randomize(Seq2Seq(7, 5, 8, 2, 2).double())
    source = {"source": torch.randint(7, (4,)), "source_graph": CompleteGraph(4)}
    model(source["source"], torch.randint(5, (9,)), CompleteGraph(4), BandedGraph(9, 1, 0))
    found = search(model, PROMPTS[:1], 12, **source)
    assert equal(found, search(model, PROMPTS[:1], 12, graph=BandedGraph(12, 1, 0), **source))


def test_other_graphs_are_refused():
    with pytest.raises(ValueError, match="must be causal"):
        greedy_search(language_model(), PROMPTS, 9, graph=CompleteGraph(9))
    with pytest.raises(ValueError, match="must be one Graph"):
        greedy_search(language_model(), PROMPTS, 9, graph=torch.tensor([[0], [1]]))


# Where it ends --------------------------------------------------------------------------------------------------------


@every_search
@pytest.mark.parametrize(
    "ends",
    [(2, 4), [4, 2], range(2, 5, 2), {2, 4}, np.array([2, 4]), torch.tensor([2, 4]), [np.int64(2), np.int32(4)]],
    ids=str,
)
def test_texts_end_with_any_of_several_tokens(search, ends):
    model = language_model()
    texts = search(model, PROMPTS, 40, end=ends)
    for prompt, text in zip(PROMPTS, texts):
        new = text[len(prompt) :].tolist()
        assert not {2, 4} & set(new[:-1]) and new[-1] in (2, 4) and len(text) < 40
    assert equal(texts, search(model, PROMPTS, 40, end=[2, 4]))


@every_search
@pytest.mark.parametrize("one", [3, [3], np.int64(3), torch.tensor(3)], ids=str)
def test_one_end(search, one):
    assert equal(search(language_model(), PROMPTS, 40, end=one), search(language_model(), PROMPTS, 40, end=3))


@every_search
@pytest.mark.parametrize("prompts", [PROMPTS, []], ids=["prompts", "none"])
@pytest.mark.parametrize(
    ("end", "error"),
    [(-1, ValueError), (5, ValueError), ([0, 99], ValueError), ([], ValueError), ("2", TypeError), (True, TypeError),
     (2.0, TypeError), ([1, None], TypeError), (np.array([True]), TypeError), ([[1]], TypeError)],
    ids=str,
)  # fmt: skip
def test_an_end_is_a_token(search, prompts, end, error):
    with pytest.raises(error, match="'end' must be"):
        search(language_model(), prompts, 9, end=end)


@torch.no_grad()
def test_beams_go_on_beside_several_ends():
    """However many likely ends there are, as many beginnings as beams go on."""
    model = language_model(12)
    found = beam_search(model, PROMPTS[:1], 8, beams=3, end=range(9))[0]
    wanted = plain_beam_search(model, PROMPTS[0], 8, 3, range(9))
    assert [text.tokens.tolist() for text in found] == [text for _, text in wanted]


# Numbers --------------------------------------------------------------------------------------------------------------

HALVES = [torch.float16, torch.bfloat16]


@torch.no_grad()
@pytest.mark.parametrize("dtype", [*HALVES, torch.float32])
@pytest.mark.parametrize("default", [torch.float32, torch.bfloat16])
def test_totals_of_beams_are_sums_of_float32(dtype, default):
    """A long text, whose total is far beyond what half precision can count in."""
    torch.manual_seed(0)
    model = LanguageModel(1000, 16, 1, 2, encoding=None).to(dtype)
    decoding = model.eval().start(1, causal(101))
    torch.set_default_dtype(default)
    try:
        best = beam_search(model, [torch.tensor([1])], 101, beams=3, graph=causal(101))[0][0]
    finally:
        torch.set_default_dtype(torch.float32)
    total = 0.0
    for token, following in zip(best.tokens, best.tokens[1:]):
        total += decoding.advance(token[None]).double().log_softmax(-1)[0, following].item()
    assert best.score == pytest.approx(total, rel=1e-5) and total < -400


def test_totals_of_float64_stay_in_it():
    model = language_model()
    best = beam_search(model, PROMPTS[:1], 20, beams=2)[0][0]
    with torch.no_grad():
        assert best.score == pytest.approx(log_probability(model, best.tokens, 3), rel=1e-13)


def tied(dtype, num_tokens=3000):
    """A model in whose scores many tokens share the first place, as far as half precision can tell."""
    torch.manual_seed(0)
    model = LanguageModel(num_tokens, 8, 1, 2, encoding=None).to(dtype).eval()
    with torch.no_grad():
        model.lin_out.weight.mul_(1e-3)
        model.lin_out.bias.fill_(1.0)
        model.lin_out.bias[::7] = 2.0
    return model


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32, torch.float64])
@pytest.mark.parametrize(
    "options",
    [{"top_k": 1}, {"temperature": 1e-6}, {"temperature": 1e-40}, {"temperature": 5e-324}, {"top_p": 1e-9}, {"top_k": np.int64(1)},
     {"temperature": 1e-7, "top_p": 0.5, "top_k": 9}],
    ids=str,
)  # fmt: skip
def test_sampling_of_one_is_greedy(dtype, options):
    model, prompts = tied(dtype), [torch.tensor([number]) for number in range(9)]
    wanted = greedy_search(model, prompts, 4)
    assert equal(wanted, [texts[0].tokens for texts in beam_search(model, prompts, 4, beams=1)])
    for _ in range(5):
        assert equal(sample(model, prompts, 4, **options), wanted)


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32, torch.float64])
def test_a_sum_of_one_drops_nothing(dtype):
    scores = torch.zeros(50_000, dtype=dtype)
    scores[-1] = -15.0
    kept = likely(scores, top_p=1)
    assert kept.isfinite().all() and torch.equal(kept, likely(scores, top_p=1.0)) and torch.equal(kept, likely(scores))
    assert kept.dtype is (torch.float64 if dtype is torch.float64 else torch.float32)


@pytest.mark.parametrize("dtype", HALVES)
def test_probabilities_of_half_precision_are_added_up_in_float32(dtype):
    scores = torch.zeros(40_000, dtype=dtype)
    assert likely(scores, top_p=0.5).isfinite().sum() == pytest.approx(20_000, abs=20)
    torch.manual_seed(0)
    model = tied(dtype, 7000)
    with torch.no_grad():
        model.lin_out.bias.fill_(0.0)  # all alike
    texts = torch.stack(sample(model, [torch.tensor([1])] * 4000, 2))[:, 1]
    assert texts.double().mean() == pytest.approx(3500, abs=150)  # 4.7 standard deviations
    assert len(texts.unique()) > 2800


def test_sampled_from_great_scores():
    torch.testing.assert_close(likely(torch.tensor([3e4, 1e4]).half(), 0.01), torch.tensor([3e6, 1e6]))
    torch.testing.assert_close(likely(torch.tensor([3.0, 1.0]), torch.inf), torch.zeros(2))


def test_one_beam_is_greedy():
    model = language_model()
    best = [texts[0].tokens for texts in beam_search(model, PROMPTS, 8, beams=1)]
    assert all(torch.equal(a, b) for a, b in zip(best, greedy_search(model, PROMPTS, 8), strict=True))


def test_sequences_from_sequences():
    torch.manual_seed(0)
    model = randomize(Seq2Seq(7, 5, 8, 1, 2).double())
    source, prompts = torch.randint(7, (9,)), [torch.tensor([1])] * 2
    options = {"end": 0, "source": source, "source_graph": CompleteGraph([2, 7])}
    texts = greedy_search(model, prompts, 7, **options)
    alone = greedy_search(model, prompts[:1], 7, end=0, source=source[2:], source_graph=CompleteGraph(7))
    assert torch.equal(texts[1], alone[0])
    assert torch.equal(texts[1], beam_search(model, prompts, 7, beams=1, **options)[1][0].tokens)


def test_samples_follow_the_probabilities():
    model = language_model()
    generator = torch.Generator().manual_seed(0)
    texts = sample(model, [PROMPTS[0]] * 4000, 4, temperature=2.0, generator=generator)
    found = torch.bincount(torch.stack(texts)[:, 3], minlength=5) / 4000
    wanted = (model(PROMPTS[0], causal(3))[-1] / 2).softmax(-1)
    torch.testing.assert_close(found.double(), wanted.detach(), rtol=0, atol=0.03)


def test_samples_repeat_by_seed():
    model = language_model()
    texts = [sample(model, PROMPTS, 9, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert all(torch.equal(a, b) for a, b in zip(texts[0], texts[1]))
    assert not all(torch.equal(a, b) for a, b in zip(texts[0], texts[2]))


def test_unlikely_tokens_are_left_out():
    probabilities = torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.7, 0.1, 0.15, 0.05]])
    left = likely(probabilities.log(), top_k=2).exp()
    torch.testing.assert_close(left, torch.tensor([[0, 0.4, 0, 0.3], [0.7, 0, 0.15, 0]]))
    left = likely(probabilities.log(), top_p=0.75).exp()
    torch.testing.assert_close(left, torch.tensor([[0, 0.4, 0.2, 0.3], [0.7, 0, 0.15, 0]]))
    torch.testing.assert_close(likely(probabilities.log(), 0.5), 2 * probabilities.log())


def test_dropout_is_off_while_writing_and_back_afterwards():
    torch.manual_seed(0)
    model = LanguageModel(5, 8, 1, 2, dropout=0.9)
    texts = [greedy_search(model, PROMPTS, 9) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*texts)) and model.training


@every_search
@pytest.mark.parametrize("prompts", [PROMPTS, []], ids=["prompts", "none"])
def test_frozen_parts_stay_in_evaluation(search, prompts):
    model = language_model().train()
    model.decoder.layers[0].eval()
    modes = [module.training for module in model.modules()]
    search(model, prompts, 6)
    assert [module.training for module in model.modules()] == modes and True in modes and False in modes


# Which models write ---------------------------------------------------------------------------------------------------


@every_search
def test_the_last_map_may_be_several(search):
    model, other = language_model(), language_model()
    other.lin_out = torch.nn.Sequential(torch.nn.Identity(), model.lin_out)
    assert equal(search(other, PROMPTS, 8, end=0), search(model, PROMPTS, 8, end=0))
    with pytest.raises(ValueError, match=r"tokens 0 .. 4 .got 5"):
        search(other, [torch.tensor([5])], 8)
    with pytest.raises(ValueError, match=r"'end' must be one of the tokens 0 .. 4"):
        search(other, PROMPTS, 8, end=5)


@every_search
def test_a_module_around_a_model(search):
    class Around(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = language_model()

        def start(self, *args):
            return self.inner.start(*args)

    assert equal(search(Around(), PROMPTS, 8, end=0), search(language_model(), PROMPTS, 8, end=0))
    with pytest.raises(ValueError, match=r"tokens 0 .. 4 .got 5"):
        search(Around(), [torch.tensor([5])], 8)


@every_search
@pytest.mark.parametrize("prompts", [PROMPTS, []], ids=["prompts", "none"])
@pytest.mark.parametrize(
    ("wrap", "words"),
    [
        (torch.nn.DataParallel, "got DataParallel.; give the model inside, 'model.module'"),
        (torch.optim.swa_utils.AveragedModel, "got AveragedModel.; give the model inside, 'model.module'"),
        (lambda model: model.lin_out, "'start.num_examples, graph.' gives a Decoding .got Linear"),
        (lambda model: causal(9), "got BandedGraph"),
    ],
)
def test_what_cannot_write(search, prompts, wrap, words):
    with pytest.raises(TypeError, match=words):
        search(wrap(language_model()), prompts, 8, end=0)


@every_search
def test_what_starts_something_else(search):
    model = language_model()
    model.start = lambda *args: None
    with pytest.raises(TypeError, match="'start' of the model must give a Decoding .got NoneType"):
        search(model, PROMPTS, 8)


# Scores that are no numbers -------------------------------------------------------------------------------------------


def test_texts_that_cannot_be_are_no_hypotheses():
    model = language_model()
    with torch.no_grad():
        model.lin_out.bias[1:4] = -torch.inf  # leaves 0, which ends a text, and 4
    for texts, prompt in zip(beam_search(model, PROMPTS, 6, beams=40, end=0), PROMPTS, strict=True):
        assert len(texts) == 6 - len(prompt) + 1 and all(np.isfinite(text.score) for text in texts)
        assert all({0, 4} >= set(text.tokens[len(prompt) :].tolist()) for text in texts)


@every_search
@pytest.mark.parametrize(
    ("value", "words"), [(torch.nan, "got nan from the model"), (-torch.inf, "at least one next token")]
)
def test_scores_that_choose_no_token(search, value, words):
    model = language_model()
    with torch.no_grad():
        model.lin_out.bias[2 if value != value else slice(None)] = value
    with pytest.raises(ValueError, match=words):
        search(model, PROMPTS, 8)


def test_a_score_of_infinity_is_a_certain_token():
    model = language_model()
    with torch.no_grad():
        model.lin_out.bias[3] = torch.inf
    for search in (*SEARCHES.values(), sample, lambda *args: sample(*args, temperature=0.5, top_p=0.9)):
        assert [text[-1].item() for text in search(model, PROMPTS, 4)] == [3, 3, 3]
    assert [text.score for text in beam_search(model, PROMPTS[:1], 9)[0]] == [0.0]


@pytest.mark.parametrize("temperature", [1e-4, 1.0, torch.inf])
def test_temperatures_beside_tokens_that_cannot_be(temperature):
    model = language_model().float()
    with torch.no_grad():
        model.lin_out.bias[:3] = -torch.inf
        model.lin_out.bias[3:] = 3e38
    texts = sample(model, PROMPTS * 20, 5, temperature=temperature)
    assert {3, 4} == {text[-1].item() for text in texts}


def test_no_prompts_give_no_texts():
    assert greedy_search(language_model(), [], 5) == [] and beam_search(language_model(), [], 5) == []


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"temperature": 0}, ValueError, "'temperature' must be positive .got 0"),
        ({"temperature": -1.0}, ValueError, "'temperature' must be positive .got -1"),
        ({"temperature": float("nan")}, ValueError, "'temperature' must be a number .got nan"),
        ({"temperature": "1"}, TypeError, "'temperature' must be a number .got '1'"),
        ({"temperature": True}, TypeError, "'temperature' must be a number .got True"),
        ({"top_k": 0}, ValueError, "'top_k' must be at least 1 .got 0"),
        ({"top_k": 2.0}, TypeError, "'top_k' must be an integer .got 2.0"),
        ({"top_k": True}, TypeError, "'top_k' must be an integer .got True"),
        ({"top_p": 0}, ValueError, "'top_p' must be in .*got 0"),
        ({"top_p": 1.01}, ValueError, "'top_p' must be in .*got 1.01"),
        ({"top_p": float("nan")}, ValueError, "'top_p' must be a number .got nan"),
    ],
    ids=str,
)
@pytest.mark.parametrize("prompts", [PROMPTS, []], ids=["prompts", "none"])
def test_options_of_sampling_that_mean_nothing(options, error, words, prompts):
    with pytest.raises(error, match=words):
        sample(language_model(), prompts, 9, **options)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"beams": 0}, ValueError, "'beams' must be at least 1 .got 0"),
        ({"beams": -3}, ValueError, "'beams' must be at least 1 .got -3"),
        ({"beams": True}, TypeError, "'beams' must be an integer .got True"),
        ({"beams": 1.5}, TypeError, "'beams' must be an integer .got 1.5"),
        ({"length_penalty": float("nan")}, ValueError, "'length_penalty' must be a number .got nan"),
        ({"length_penalty": float("inf")}, ValueError, "'length_penalty' must be finite .got inf"),
        ({"length_penalty": -float("inf")}, ValueError, "'length_penalty' must be finite .got -inf"),
        ({"length_penalty": 1e5}, ValueError, "'length_penalty' must be nearer 0.* up to 9 tokens .got 100000"),
        ({"length_penalty": -1e5}, ValueError, "'length_penalty' must be nearer 0.* up to 9 tokens .got -100000"),
        ({"length_penalty": "1"}, TypeError, "'length_penalty' must be a number .got '1'"),
    ],
    ids=str,
)
def test_options_of_beams_that_mean_nothing(options, error, words):
    with pytest.raises(error, match=words):
        beam_search(language_model(), PROMPTS, 9, **options)


@every_search
@pytest.mark.parametrize(
    ("prompts", "max_length", "error", "words"),
    [
        (PROMPTS, 3, ValueError, r"1 .. max_length - 1 = 2 tokens .got \[3, 1, 2\]"),
        (
            [torch.tensor([1]), torch.empty(0, dtype=torch.long)],
            3,
            ValueError,
            r"prompts must have 1 .. .*got \[1, 0\]",
        ),
        (PROMPTS, 0, ValueError, "'max_length' must be at least 1 .got 0"),
        (PROMPTS, -4, ValueError, "'max_length' must be at least 1 .got -4"),
        (PROMPTS, 7.5, TypeError, "'max_length' must be an integer .got 7.5"),
        ([torch.tensor([1, 5])], 9, ValueError, r"tokens 0 .. 4 .got 5"),
        ([torch.tensor([1]), torch.tensor([-1])], 9, ValueError, r"tokens 0 .. 4 .got -1"),
        ([torch.tensor([1.0])], 9, ValueError, "'tokens' must be integers"),
        ([[1, 2]], 9, TypeError, "'prompts' must be a list of tensors .*got one of list"),
        (torch.tensor([1, 2]), 9, ValueError, r"'prompts' must be a list .* of a single one write \[prompt\]"),
    ],
    ids=str,
)
def test_prompts_that_mean_nothing(search, prompts, max_length, error, words):
    with pytest.raises(error, match=words):
        search(language_model(), prompts, max_length)


@every_search
def test_prompts_of_few_bits_and_rows(search):
    model, wanted = language_model(), search(language_model(), [torch.tensor([1, 2]), torch.tensor([3, 4])], 9)
    for prompts in (torch.tensor([[1, 2], [3, 4]]), [torch.tensor([1, 2]).int(), torch.tensor([3, 4]).int()]):
        found = search(model, prompts, np.int64(9))
        assert equal(found, wanted) and found[0].dtype is torch.int64
