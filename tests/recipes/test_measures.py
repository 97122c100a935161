"""Measures against scikit-learn and plain counting."""

import math

import pytest
import torch

from graphattn.recipes.measures import class_figures, macro_f1, mae, r2, rmse, roc_auc


@pytest.mark.parametrize("ties", [False, True])
def test_roc_auc_counts_pairs(ties):
    torch.manual_seed(0)
    y, scores = torch.randint(2, (60,)), torch.randn(60, 2)
    scores = scores.round() if ties else scores
    value = (scores[:, 1] - scores[:, 0]).tolist()
    pairs = [(value[i], value[j]) for i in range(60) for j in range(60) if y[i] == 1 and y[j] == 0]
    expected = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)
    assert roc_auc(scores, y) == pytest.approx(expected, abs=1e-12)
    assert roc_auc(scores.half().double(), y) == pytest.approx(roc_auc(scores.half(), y), abs=1e-12) or not ties


def test_measures_equal_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    torch.manual_seed(0)
    y, scores = torch.randint(4, (100,)), torch.randn(100, 5)  # class 4 never occurs, but is predicted
    assert macro_f1(scores, y) == pytest.approx(metrics.f1_score(y, scores.argmax(1), average="macro"))
    y, scores = torch.randint(2, (100,)), torch.randn(100)
    assert roc_auc(scores, y) == pytest.approx(metrics.roc_auc_score(y, scores), abs=1e-12)
    predicted, measured = torch.randn(50), torch.randn(50)
    assert rmse(predicted, measured) == pytest.approx(metrics.mean_squared_error(measured, predicted) ** 0.5, rel=1e-5)
    assert mae(predicted, measured) == pytest.approx(metrics.mean_absolute_error(measured, predicted), rel=1e-5)
    assert r2(predicted, measured) == pytest.approx(metrics.r2_score(measured, predicted), rel=1e-5)


def test_one_class_alone_has_no_area():
    assert math.isnan(roc_auc(torch.randn(5), torch.ones(5)))


def test_area_is_told_of_two_classes():
    assert "roc_auc" in class_figures(torch.randn(4, 2), torch.tensor([0, 1, 1, 0]))
    assert "roc_auc" not in class_figures(torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
