"""The reader on sentences in which a "not" turns praise into blame."""

import pytest
import torch
from torch_geometric.data import Batch, Data

from examples import sentiment
from graphattn import CompleteGraph
from graphattn.inputs import Vocabulary
from graphattn.recipes.models.words import NUM_BUCKETS

TINY = [
    "--channels",
    "16",
    "--dropout",
    "0",
    "--word-dropout",
    "0",
    "--weight-decay",
    "0",
    "--batch-size",
    "8",
    "--lr",
    "0.01",
]
NOUNS = ("film", "plot", "cast", "song", "end", "star")
FRAMES = ("the {} is {} to see now", "a {} that is {} if ever one was", "I found the {} {} in the end")


def sentences():
    for noun in NOUNS:
        for frame in FRAMES:
            for word, label in (("good", 1), ("not good", 0), ("bad", 0), ("not bad", 1)):
                yield f"{frame.format(noun, word)}\t{label}\n"


@pytest.fixture
def root(tmp_path):
    lines = list(sentences())
    folder = tmp_path / "sst2"
    folder.mkdir()
    parts = {"dev": lines[1::5], "test": lines[::5]}
    parts["train"] = [line for line in lines if line not in parts["dev"] + parts["test"]]
    for split, chosen in parts.items():
        (folder / f"{split}.tsv").write_text("".join(chosen), encoding="utf-8")
    return tmp_path


def test_negation_is_learned_and_drawn(root, capsys):
    out = root / "out"
    found = sentiment.main(["--root", str(root), "--epochs", "40", "--models", "2", "--out", str(out), *TINY])
    assert found >= 80  # by words without their neighbours it is a toss-up
    assert (out / "sentiment_attention.png").read_bytes().startswith(b"\x89PNG")
    assert f"test accuracy {found:.2f} %" in capsys.readouterr().out


def test_encoding_has_the_word_and_its_parts():
    data = sentiment.encode(Data(tokens=["film", "filming", "a"], y=torch.tensor([1])), Vocabulary(["film"]))
    assert data.x.shape == (3, 6) and data.x[:, 0].tolist() == [1, 0, 0] and data.y.tolist() == [1]
    assert (data.x[0, 1:3] == data.x[1, 1:3]).all() and data.x[0, 3] != data.x[1, 3]  # <fil, <film; <film> and <filmi
    assert data.x.min() >= 0 and data.x[:, 1:].max() < NUM_BUCKETS


def test_the_epoch_that_is_best_on_dev_is_kept(monkeypatch):
    accuracies, states = iter([50.0, 70.0, 60.0]), []

    def accuracy(model, _):
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        return next(accuracies)

    monkeypatch.setattr(sentiment, "accuracy", accuracy)
    torch.manual_seed(0)
    args = sentiment.parse_arguments([*TINY, "--epochs", "3"])
    examples = [Data(x=torch.randint(9, (4, 6)), y=torch.tensor([label])) for label in [0, 1] * 8]
    model = sentiment.train(sentiment.reader(9, args), examples, [], args)
    assert all(torch.equal(value, states[1][name]) for name, value in model.state_dict().items())
    assert any(not torch.equal(value, states[1][name]) for name, value in states[2].items())


def test_probabilities_of_several_models_are_averaged():
    torch.manual_seed(0)
    readers = [sentiment.reader(20, sentiment.parse_arguments(TINY)).eval() for _ in range(3)]
    batch = Batch.from_data_list([Data(x=torch.randint(20, (n, 6))) for n in (4, 9)])
    expected = (
        sum(sentiment.run(reader, batch).exp() / sentiment.run(reader, batch).exp().sum(1, True) for reader in readers)
        / 3
    )
    torch.testing.assert_close(sentiment.run(sentiment.Several(readers), batch), expected)


def test_scores_do_not_depend_on_batch_mates():
    torch.manual_seed(0)
    model = sentiment.reader(20, sentiment.parse_arguments(TINY)).eval()
    examples = [Data(x=torch.randint(20, (n, 6))) for n in (4, 9)]
    together = sentiment.run(model, Batch.from_data_list(examples))
    alone = [sentiment.run(model, Batch.from_data_list([example])) for example in examples]
    torch.testing.assert_close(together, torch.cat(alone))


def test_drawn_attention_sums_to_one():
    torch.manual_seed(0)
    model = sentiment.reader(20, sentiment.parse_arguments(TINY)).eval()
    between, pooling = model.attention(torch.randint(20, (5, 6)), CompleteGraph(5))
    torch.testing.assert_close(between.view(5, 5, -1).sum(1), torch.ones(5, 4))
    torch.testing.assert_close(pooling.sum(0), torch.ones(4))


def test_sentences_of_both_kinds_are_chosen():
    def sentence(text, label):
        return Data(tokens=text.split(), y=torch.tensor([label]), num_nodes=len(text.split()))

    plain, negated = "a film to see again and again", "not a film to see again and again"
    blamed, long = "a film to forget and forget again", "a " * 13 + "film"
    test = [sentence(long, 1), sentence(plain, 1), sentence(negated, 0), sentence(blamed, 0), sentence(blamed, 0)]
    chosen = sentiment.choose_sentences(test)
    assert [" ".join(data.tokens) for data in chosen] == [plain, blamed, negated]
