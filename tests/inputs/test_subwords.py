"""Tokenizers of Hugging Face: their ids stay theirs."""

import pytest
import torch

from graphattn import CompleteGraph, causal
from graphattn.inputs import Vocabulary, from_text

tokenizers = pytest.importorskip("tokenizers", reason="pip install tokenizers")


@pytest.fixture
def tokenizer():
    pieces = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "play": 9, "##ing": 7, "the": 5, "cat": 4}
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(pieces, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 1), ("[SEP]", 2)])
    return made


@pytest.fixture(params=["tokenizers", "transformers"])
def either(request, tokenizer):
    if request.param == "tokenizers":
        return tokenizer
    transformers = pytest.importorskip("transformers", reason="pip install transformers")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]")


def test_ids_tokens_and_offsets(either):
    data = from_text("the  cat playing", tokenizer=either)
    assert data.x.tolist() == [1, 5, 4, 9, 7, 2] and data.x.dtype == torch.int64
    assert data.tokens == ["[CLS]", "the", "cat", "play", "##ing", "[SEP]"]
    assert data.pos.tolist() == [[0, 0], [0, 3], [5, 8], [9, 13], [13, 16], [0, 0]] and data.pos.is_floating_point()
    assert data.graph == CompleteGraph(6)


def test_several_sentences(either):
    assert [data.x.tolist() for data in from_text(["the cat", "playing"], tokenizer=either)] == [
        [1, 5, 4, 2],
        [1, 9, 7, 2],
    ]
    (one,) = from_text(["cat"], tokenizer=either)
    assert one.x.tolist() == [1, 4, 2]


def test_words_that_are_split_already(either):
    data = from_text(["the", "playing"], tokenizer=either, tokenized=True)
    assert data.x.tolist() == [1, 5, 9, 7, 2]
    assert [data.x.tolist() for data in from_text([["the"], ["cat", "the"]], tokenizer=either)] == [
        [1, 5, 2],
        [1, 4, 5, 2],
    ]


def test_padding_is_left_out(tokenizer):
    tokenizer.enable_padding(length=9)
    tokenizer.enable_truncation(4)
    data = from_text("the cat playing the cat", tokenizer=tokenizer)
    assert data.x.tolist() == [1, 5, 4, 2] and data.tokens[-1] == "[SEP]" and data.pos.shape == (4, 2)


def test_one_hot_graph_and_edges(either):
    data = from_text("the cat", tokenizer=either, one_hot=True, graph=causal, edge_index=True)
    assert data.x.shape[0] == 4 and data.x.argmax(1).tolist() == [1, 5, 4, 2] and data.edge_index.size(1) == 10


def test_a_tokenizer_without_offsets():
    class Slow:
        is_fast = False

        def __len__(self):
            return 300

        def get_vocab(self):
            return {}

        def convert_ids_to_tokens(self, ids):
            return [chr(i) for i in ids]

        def __call__(self, text, is_split_into_words, return_attention_mask):
            return {"input_ids": [ord(c) for c in text], "attention_mask": [1] * len(text)}

    data = from_text("ab", tokenizer=Slow())
    assert data.x.tolist() == [97, 98] and data.pos.tolist() == [[0], [1]] and data.tokens == ["a", "b"]


def test_errors(tokenizer):
    with pytest.raises(ValueError, match="'vocabulary' and the ids of a Tokenizer exclude each other"):
        from_text("the cat", Vocabulary(["the"]), tokenizer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing("$A", None, [])
    with pytest.raises(ValueError, match=r"no tokens at place 1 \(got ''\); drop empty sentences"):
        from_text(["the", ""], tokenizer=tokenizer)
    with pytest.raises(TypeError, match="'text' needs to be a str"):
        from_text(3, tokenizer=tokenizer)
