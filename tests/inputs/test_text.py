"""Sentences: indices against a dictionary made by a loop, vocabularies, bad input, batches."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from torch_geometric.loader import DataLoader

from graphattn.graphs import CompleteGraph, causal
from graphattn.inputs import Vocabulary, from_text
from graphattn.inputs.text import UNKNOWN

SENTENCES = ["the cat saw the dog", "a dog barks", "the end"]


def count_words(sentences):
    counts = {}
    for sentence in sentences:
        for word in sentence.split():
            counts[word] = counts.get(word, 0) + 1
    return counts


def test_indices_are_places_in_the_vocabulary():
    vocabulary = Vocabulary.from_sentences(SENTENCES)
    data = from_text("the dog saw a bird", vocabulary)
    assert data.x.dtype == torch.long
    assert [vocabulary.tokens[index] for index in data.x] == ["the", "dog", "saw", "a", UNKNOWN]
    assert data.tokens == ["the", "dog", "saw", "a", "bird"]  # the tokens stay as they were written
    assert data.pos.tolist() == [[0.0], [1.0], [2.0], [3.0], [4.0]]
    assert data.graph == CompleteGraph(5) and "edge_index" not in data


def test_one_hot_rows():
    vocabulary = Vocabulary.from_sentences(SENTENCES)
    index, rows = from_text(SENTENCES[0], vocabulary).x, from_text(SENTENCES[0], vocabulary, one_hot=True).x
    assert rows.dtype == torch.float and rows.shape == (5, len(vocabulary))
    for row, place in zip(rows.tolist(), index.tolist()):
        assert row == [float(column == place) for column in range(len(vocabulary))]


def test_vocabulary_is_sorted_by_count_then_first_seen():
    counts, first_seen = count_words(SENTENCES), list(count_words(SENTENCES))
    expected = sorted(counts, key=lambda word: (-counts[word], first_seen.index(word)))
    assert Vocabulary.from_sentences(SENTENCES).tokens == [UNKNOWN, *expected]


@pytest.mark.parametrize(
    "min_count, max_size, expected",
    [(2, None, [UNKNOWN, "the", "dog"]), (1, 2, [UNKNOWN, "the"]), (1, 1, [UNKNOWN]), (9, None, [UNKNOWN])],
)
def test_vocabulary_bounds(min_count, max_size, expected):
    assert list(Vocabulary.from_sentences(SENTENCES, min_count=min_count, max_size=max_size)) == expected


def test_the_unknown_token_in_a_text_has_its_own_place():
    assert Vocabulary.from_sentences(["<unk> <unk> cat dog"], max_size=3).tokens == [UNKNOWN, "cat", "dog"]
    assert from_text("cat <unk>", Vocabulary(["cat"])).x.tolist() == [1, 0]


def test_vocabulary_survives_as_a_plain_list_and_as_a_pickle():
    vocabulary = Vocabulary.from_sentences([*SENTENCES, "an <unk> word"])
    assert list(vocabulary).count(UNKNOWN) == 1
    assert Vocabulary(list(vocabulary)) == vocabulary == pickle.loads(pickle.dumps(vocabulary))
    assert (
        "cat" in vocabulary and "bird" not in vocabulary and repr(vocabulary) == f"Vocabulary({len(vocabulary)} tokens)"
    )


def test_any_tokenizer_and_ready_tokens():
    letters = from_text("cab", Vocabulary(list("abc")), tokenizer=list)
    assert letters.x.tolist() == [3, 1, 2]
    with pytest.warns(UserWarning, match="read as the 2 tokens of one sentence, though .* 'New York'; pass tokenized="):
        assert from_text(["New York", "sleeps"]).tokens == ["New York", "sleeps"]
    assert from_text("sleeps").x.tolist() == [1]  # a sentence of one word


def test_graph_and_edge_index_on_request():
    data = from_text("a b c", graph=causal, edge_index=True)
    assert data.graph == causal(3) and torch.equal(data.edge_index, causal(3).edge_index())
    with pytest.raises(ValueError, match=r"joins 2 queries to 2 keys, the input has 3 nodes"):
        from_text("a b c", graph=causal(2))


@pytest.mark.parametrize("empty", ["", "   \n", [], ()])
def test_an_empty_sentence_is_refused(empty):
    with pytest.raises(ValueError, match=r"'text' has no tokens \(got .*\); drop empty sentences"):
        from_text(empty)


def test_a_list_of_sentences_is_each_of_them():
    vocabulary = Vocabulary.from_sentences(SENTENCES)
    tokens = [sentence.split() for sentence in SENTENCES]
    for given in (SENTENCES, tuple(SENTENCES), tokens, [SENTENCES[0], *tokens[1:]], np.array(SENTENCES)):
        found = from_text(given, vocabulary, graph=causal)
        assert [data.tokens for data in found] == tokens
        assert [data.graph for data in found] == [causal(5), causal(3), causal(2)]
        for data, sentence in zip(found, SENTENCES):
            assert torch.equal(data.x, from_text(sentence, vocabulary).x)


def test_a_list_of_sentences_shares_one_vocabulary():
    one, other = from_text(["the cat", "a cat"])
    assert one.x.tolist() == [1, 2] and other.x.tolist() == [3, 2]


def test_tokens_or_sentences():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert from_text(["the", "cat"]).tokens == from_text(np.array(["the", "cat"])).tokens == ["the", "cat"]
        assert from_text(["New York", "sleeps"], tokenized=True).tokens == ["New York", "sleeps"]
        assert from_text(["New York", "Los Angeles"], tokenized=True).num_nodes == 2
        assert [data.tokens for data in from_text(["a cat", "sleeps"], tokenized=False)] == [["a", "cat"], ["sleeps"]]
        assert [data.tokens for data in from_text(["stop", "go"], tokenized=False)] == [["stop"], ["go"]]
        assert [data.tokens for data in from_text(["ab", "cd"], tokenizer=list)] == [["a", "b"], ["c", "d"]]
        assert from_text("a cat", tokenized=False).tokens == ["a", "cat"]


def test_an_empty_sentence_among_others_is_refused():
    for sentences in (["a cat", " "], [["a"], []]):
        with pytest.raises(ValueError, match=r"'text' has no tokens at place 1 \(got .*\); drop empty sentences"):
            from_text(sentences, tokenized=False)


def test_other_vocabularies_are_refused():
    for vocabulary in (["a", "cat"], {"a": 1}):
        with pytest.raises(
            TypeError, match=rf"'vocabulary' needs to be a Vocabulary \(got {type(vocabulary).__name__}\)"
        ):
            from_text("a cat", vocabulary)
    for token in (3, b"cat", None, ["cat"]):
        with pytest.raises(TypeError, match="a token needs to be a str"):
            Vocabulary(["cat"]).index_of(token)


def test_wrong_types_are_refused():
    with pytest.raises(TypeError, match=r"'text' needs to be a str or a sequence of str \(got int\)"):
        from_text(3)
    with pytest.raises(TypeError, match="got bytes"):
        from_text(b"a cat")
    for text in ({"a", "cat"}, iter(["a"]), None, [b"a", b"cat"], [["a"], 3], [["a"], [3]], np.zeros(3)):
        with pytest.raises(TypeError):
            from_text(text)
    with pytest.raises(TypeError, match=r"every token needs to be a str \(got 3 of type int\)"):
        from_text(["a", 3])
    with pytest.raises(TypeError, match=r"every token needs to be a str \(got 97"):
        from_text("a", tokenizer=lambda text: list(text.encode()))
    with pytest.raises(TypeError, match=r"'sentences' needs to be several"):
        Vocabulary.from_sentences("a cat")
    with pytest.raises(TypeError, match=r"'tokens' needs to be a sequence of str \(got the str 'cat'\)"):
        Vocabulary("cat")
    with pytest.raises(ValueError, match=r"'max_size' .* \(got 0\)"):
        Vocabulary.from_sentences(SENTENCES, max_size=0)


def test_a_batch():
    vocabulary = Vocabulary.from_sentences(SENTENCES)
    batch = next(iter(DataLoader([from_text(sentence, vocabulary) for sentence in SENTENCES], batch_size=3)))
    assert batch.ptr.tolist() == [0, 5, 8, 10]
    assert batch.graph == [CompleteGraph(5), CompleteGraph(3), CompleteGraph(2)]
    assert batch.tokens == [sentence.split() for sentence in SENTENCES]


@pytest.mark.parametrize(
    "tokenizer",
    [lambda s: tuple(s.split()), lambda s: iter(s.split()), lambda s: s.lower().split(), lambda s: np.array(s.split())],
)
def test_tokens_are_known_by_their_number(tokenizer):
    """Whatever a tokenizer gives them in, and however it writes them."""
    assert from_text(["The", "Cat"], tokenizer=tokenizer).num_nodes == 2
    assert [data.num_nodes for data in from_text(["The cat", "A dog sat"], tokenizer=tokenizer)] == [2, 3]


@pytest.mark.parametrize("text", ["a", ["a", "b"]])
def test_a_tokenizer_that_gives_nothing_is_refused(text):
    with pytest.raises(TypeError, match=r"'tokenizer' needs to give a sequence of str \(got None for 'a'\)"):
        from_text(text, tokenizer=lambda text: None)
