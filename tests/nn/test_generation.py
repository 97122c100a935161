from itertools import product

import pytest
import torch

from graphattn import BandedGraph, CompleteGraph, causal
from graphattn.nn import LanguageModel, RotaryPositions, Seq2Seq, beam_search, greedy_search, sample
from graphattn.nn.generation import likely
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


def plain_beam_search(model, prompt, max_length, beams, end):
    """Beams by full passes over everything, without a cache."""
    alive, finished = [(0.0, prompt.tolist())], []
    while alive:
        grown = []
        for total, text in alive:
            scores = model(torch.tensor(text), causal(len(text)))[-1].log_softmax(-1).tolist()
            grown += [(total + score, [*text, token]) for token, score in enumerate(scores)]
        grown.sort(key=lambda pair: -pair[0])
        alive = []
        for total, text in grown[: 2 * beams]:
            (finished if text[-1] == end or len(text) == max_length else alive).append((total, text))
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
        wanted = plain_beam_search(model, prompt, 7, beams, end)
        assert [text.tokens.tolist() for text in texts] == [text for _, text in wanted]
        assert [text.score for text in texts] == pytest.approx([total for total, _ in wanted])


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


def test_no_prompts_give_no_texts():
    assert greedy_search(language_model(), [], 5) == [] and beam_search(language_model(), [], 5) == []


def test_bad_input_is_named():
    model = language_model()
    with pytest.raises(ValueError, match=r"1 .. max_length - 1 = 2 tokens .got \[3, 1, 2\]"):
        greedy_search(model, PROMPTS, 3)
    with pytest.raises(ValueError, match="'temperature' must be positive .got 0"):
        sample(model, PROMPTS, 9, temperature=0)
    with pytest.raises(ValueError, match="'top_p' must be in .*got 0"):
        sample(model, PROMPTS, 9, top_p=0)
    with pytest.raises(ValueError, match="'beams' must be at least 1 .got 0"):
        beam_search(model, PROMPTS, 9, beams=0)
