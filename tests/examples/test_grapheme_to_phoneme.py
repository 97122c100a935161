"""The speller of a language of six letters."""

import random

import pytest
import torch

from examples import grapheme_to_phoneme
from graphattn.datasets import CMUDict

SOUNDS = {"a": "AA1", "e": "EH0", "b": "B", "d": "D", "sh": "SH", "s": "S", "h": "HH"}  # "sh" is one phoneme


def spoken(word):
    pieces, place = [], 0
    while place < len(word):
        piece = "sh" if word[place : place + 2] == "sh" else word[place]
        pieces.append(SOUNDS[piece])
        place += len(piece)
    return " ".join(pieces)


@pytest.fixture
def root(tmp_path):
    chance = random.Random(0)
    words = {"".join(chance.choices("aebdsh", k=chance.randint(2, 6))) for _ in range(900)}
    folder = tmp_path / "cmudict"
    folder.mkdir()
    entries = [f"{word} {spoken(word)}\n" for word in sorted(words)]
    (folder / "cmudict.dict").write_text("".join(entries), encoding="utf-8")
    return tmp_path


def arguments(root, *more):
    small = {"--channels": 32, "--heads": 2, "--layers": 1, "--batch-size": 32, "--threads": 1, "--save-every": 3}
    paths = {"--root": root, "--out": root / "results", "--checkpoint": root / "model.pt"}
    return [str(part) for pair in (small | paths).items() for part in pair] + list(map(str, more))


def test_spelling_is_learned_tested_and_drawn(root, capsys, monkeypatch):
    monkeypatch.setattr(grapheme_to_phoneme, "DRAWN", ("shabe", "dash"))
    per, wer = grapheme_to_phoneme.main(arguments(root, "--epochs", 12, "--lr", 0.01, "--dropout", 0, "--average", 0.9))
    assert per < 15 and wer < 60  # before it has learned anything it is above 80 and 98
    printed = capsys.readouterr().out
    assert f"test PER {per:.2f} %, WER {wer:.2f} %" in printed and "published: " in printed
    for name in ("attention", "curve"):
        assert (root / "results" / f"grapheme_to_phoneme_{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_in_pieces_has_the_result_of_one_long_run(root, capsys):
    whole = grapheme_to_phoneme.main(arguments(root, "--epochs", 2))
    expected = torch.load(root / "model.pt", weights_only=True)
    assert grapheme_to_phoneme.main(arguments(root, "--epochs", 2, "--minutes", 1e-9)) is None
    pieces, parts = 1, None
    while parts is None:  # some pieces of one step, the rest at once
        minutes = 1e-9 if pieces < 5 else 10
        parts = grapheme_to_phoneme.main(arguments(root, "--epochs", 2, "--minutes", minutes, "--resume"))
        pieces += 1
    assert pieces == 6 and parts == whole
    assert "go on by --resume" in capsys.readouterr().out
    found = torch.load(root / "model.pt", weights_only=True)
    for name in ("model", "average"):
        assert all(torch.equal(expected[name][key], found[name][key]) for key in expected[name])
    assert found["history"] == expected["history"] and len(found["history"]) == 2


def test_another_recipe_does_not_go_on(root):
    grapheme_to_phoneme.main(arguments(root, "--epochs", 2, "--minutes", 1e-9))
    with pytest.raises(ValueError, match="another recipe"):
        grapheme_to_phoneme.main(arguments(root, "--epochs", 3, "--resume"))


def test_batches_hold_every_pair_once_and_like_lengths_together(root):
    pairs = grapheme_to_phoneme.pairs_of(CMUDict(str(root / "cmudict")))
    batches = grapheme_to_phoneme.batches_of(pairs, 32, seed=3)
    assert sorted(pair for batch in batches for pair in batch) == sorted(pairs)
    assert all(len({len(pair.letters) for pair in batch}) <= 3 for batch in batches)
    assert batches == grapheme_to_phoneme.batches_of(pairs, 32, seed=3)
    assert batches != grapheme_to_phoneme.batches_of(pairs, 32, seed=4)


def test_errors_are_counted_against_the_nearest_pronunciation():
    assert grapheme_to_phoneme.edit_distance("kitten", "sitting") == 3
    assert grapheme_to_phoneme.edit_distance("", "abc") == grapheme_to_phoneme.edit_distance("abc", "") == 3
    found, wanted = ["A B", "A B C", ""], [["A C D E", "A C"], ["A B C"], ["A"]]
    assert grapheme_to_phoneme.error_rates(found, wanted) == pytest.approx((100 * 2 / 6, 100 * 2 / 3))
