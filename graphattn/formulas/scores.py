"""How well a query and a key fit: the number that a normalizer turns into an attention weight."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import Module
from torch.nn.functional import leaky_relu

from graphattn.formulas.names import check_name

ACTIVATIONS = ("tanh", "leaky_relu")
SAFE_POWER = (
    0.4  # of the ends of a dtype's range: numbers between have squares, and sums of squares, that are not near them
)
KERNEL_SLOPE = 0.2  # of 'leaky_relu' below 0: the one that every kernel knows


class Score(ABC):
    """A function of one query and one key vector, evaluated for many pairs at once by broadcasting."""

    name: str
    takes_features_by_head: ClassVar[bool] = False
    wants_width: ClassVar[bool] = (
        False  # rewritten vectors in half precision would give other scores, or leave its range
    )

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """The tensors that take part in differentiation, each [heads, ...]."""
        return ()

    @property
    def facts(self) -> tuple | None:
        """All that checks and kernels look at beside the numbers of the parameters; None: they look again at every call."""
        return None

    def replace(self, *parameters: Tensor) -> "Score":
        """The same score with other `parameters`."""
        return self

    def for_batch(self, batch: int) -> "Score":
        """The same score for `batch` examples laid side by side as more heads."""
        return self.replace(*(x.repeat(batch, *[1] * (x.dim() - 1)) for x in self.parameters))

    def at_heads(self, heads: Tensor) -> "Score":
        """The same score for some of its heads only."""
        return self.replace(*(x[heads] for x in self.parameters))

    def default_scale(self, dim: int) -> float:
        return 1.0

    def check(self, heads: int, dim: int, edge_dim: int | None) -> None:  # noqa: B027  (most scores have none)
        """Raise ValueError where the parameters do not fit the shapes."""

    def check_features(self, heads: int, dim: int, edge_features: Tensor | None) -> None:  # noqa: B027
        """Raise ValueError where the score cannot read these features of edges."""

    def reduce(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor, "Score"]:
        """Query, key [..., heads, new_dim] and a score that kernels know, with the same values; by default nothing changes.

        A score that is a dot product in disguise becomes one here, so that every kernel runs it. Kernels see the result
        only: autograd differentiates this step.
        """
        return query, key, self

    @abstractmethod
    def between(self, query: Tensor, key: Tensor, edge_features: Tensor | None) -> Tensor:
        """`query`, `key` [..., heads, dim], `edge_features` [..., edge_dim] -> scores [..., heads].

        Where another edge feature stands for each head, `edge_features` is [..., heads, edge_dim] if `takes_features_by_head`.
        """


class Reduced(Score):
    """A score that is another one of rewritten vectors: a subclass has a `name` and defines `reduce` alone.

    >>> class OfUnits(Reduced):
    ...     name = "of_units"
    ...     def reduce(self, query, key):
    ...         return to_unit(query), to_unit(key), Dot()
    >>> OfUnits().between(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]]), None)
    tensor([0.8000])
    """

    def between(self, query, key, edge_features):
        query, key, score = self.reduce(query, key)
        return score.between(query, key, edge_features)


@dataclass(frozen=True)
class Dot(Score):
    """query · key, scaled by 1 / sqrt(dim) unless told otherwise (Vaswani et al. 2017, eq. 1)."""

    name = "dot"
    takes_features_by_head = True

    @property
    def facts(self):
        return (Dot,) if type(self) is Dot else None

    def default_scale(self, dim):
        return max(dim, 1) ** -0.5

    def between(self, query, key, edge_features):
        return (query * key).sum(-1)


@dataclass(frozen=True, eq=False)
class Additive(Score):
    """vector · activation(query + key + edge_weight @ edge_features), per head.

    With 'tanh' it is Bahdanau et al. 2015 (appendix A.1.2), with 'leaky_relu' GATv2 (Brody et al. 2022, eq. 7).

    Args:
        vector: [heads, dim].
        edge_weight: [heads, dim, edge_dim], or None if edges have no part in the score.
        activation: 'tanh' or 'leaky_relu'.
        negative_slope: of 'leaky_relu' below 0; at exactly 0 its derivative is a number between this and 1.
        adds_features: Whether edge features [num_edges, heads, dim] stand for edge_weight @ edge_features themselves, for who
            has mapped them already.
    """

    vector: Tensor
    edge_weight: Tensor | None = None
    activation: str = "tanh"
    negative_slope: float = KERNEL_SLOPE
    adds_features: bool = False

    name = "additive"
    takes_features_by_head = True

    def __post_init__(self):
        if self.adds_features and (self.edge_weight is not None or self.negative_slope != KERNEL_SLOPE):
            raise ValueError(
                f"'adds_features' goes without 'edge_weight' and with the slope {KERNEL_SLOPE} (got edge_weight="
                f"{None if self.edge_weight is None else list(self.edge_weight.shape)} and {self.negative_slope})"
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"'activation' must be one of {sorted(ACTIVATIONS)} (got {self.activation!r})")

    @property
    def parameters(self):
        return (self.vector,) if self.edge_weight is None else (self.vector, self.edge_weight)

    @property
    def facts(self):
        if type(self) is not Additive:
            return None
        shapes = tuple((x.shape, x.dtype, x.device) for x in self.parameters)
        return Additive, self.activation, self.negative_slope, self.adds_features, shapes

    def replace(self, *parameters):
        options = {"activation": self.activation, "negative_slope": self.negative_slope}
        return Additive(*parameters, **options, adds_features=self.adds_features)

    def check(self, heads, dim, edge_dim):
        check_shape("'vector' of the additive score", "[heads, dim]", self.vector, heads, dim)
        if self.edge_weight is not None and self.edge_weight.shape != (heads, dim, edge_dim):
            raise ValueError(
                f"'edge_weight' of the additive score must be [heads, dim, edge_dim] = [{heads}, {dim}, {edge_dim}]"
                f" (got {list(self.edge_weight.shape)}); it needs 'edge_features' beside it"
            )

    def check_features(self, heads, dim, edge_features):
        # Features that all heads share have another shape: loops would read beyond them.
        if self.adds_features and (edge_features is None or edge_features.shape[1:] != (heads, dim)):
            got = None if edge_features is None else list(edge_features.shape)
            raise ValueError(
                f"'adds_features' of the additive score needs 'edge_features' [num_edges, {heads}, {dim}] (got {got}); where all"
                f" heads share them, give edge_features[:, None].expand(-1, {heads}, -1)"
            )

    def reduce(self, query, key):
        """Any slope t as a mixture of two channels with the slope s = 0.2 of the kernels.

        With a = (1 - t) / (1 - s), LeakyReLU_t(x) = a LeakyReLU_s(x) + (1 - a) x, and
        (1 + s) x = LeakyReLU_s(x) - LeakyReLU_s(-x).
        """
        if self.activation != "leaky_relu" or self.negative_slope == KERNEL_SLOPE:
            return query, key, self
        share = (1 - self.negative_slope) / (1 - KERNEL_SLOPE)
        linear = (1 - share) / (1 + KERNEL_SLOPE)
        vector = torch.cat([(share + linear) * self.vector, -linear * self.vector], -1)
        edge_weight = None if self.edge_weight is None else torch.cat([self.edge_weight, -self.edge_weight], 1)
        query, key = (torch.cat([x, -x], -1) for x in (query, key))
        return query, key, Additive(vector, edge_weight, self.activation)

    def between(self, query, key, edge_features):
        hidden = query + key
        if self.edge_weight is not None:
            features = "...hd" if edge_features.dim() == hidden.dim() else "...d"
            hidden = hidden + torch.einsum(f"hcd,{features}->...hc", self.edge_weight.to(hidden), edge_features)
        elif self.adds_features:
            hidden = hidden + edge_features
        hidden = hidden.tanh() if self.activation == "tanh" else leaky_relu(hidden, self.negative_slope)
        return (hidden * self.vector.to(hidden)).sum(-1)


@dataclass(frozen=True, eq=False)
class Gat(Reduced):
    """LeakyReLU(target · query + source · key), per head (Veličković et al. 2018, eq. 3).

    Args:
        source: [kv_heads, dim], for keys.
        target: [heads, dim], for queries.
        negative_slope: of LeakyReLU below 0.
    """

    source: Tensor
    target: Tensor
    negative_slope: float = KERNEL_SLOPE

    name = "gat"

    @property
    def parameters(self):
        return (self.source, self.target)

    def replace(self, *parameters):
        return Gat(*parameters, self.negative_slope)

    def at_heads(self, heads):
        return self.replace(self.source[heads * self.source.size(0) // self.target.size(0)], self.target[heads])

    def check(self, heads, dim, edge_dim):
        check_shape("'target' of the GAT score", "[heads, dim]", self.target, heads, dim)

    def reduce(self, query, key):
        """One channel: a sum of two numbers, through LeakyReLU."""
        check_shape("'source' of the GAT score", "[kv_heads, dim]", self.source, *key.shape[-2:])
        query = (query * self.target.to(query)).sum(-1, keepdim=True)
        key = (key * self.source.to(key)).sum(-1, keepdim=True)
        one = self.target.new_ones(self.target.size(0), 1)
        return Additive(one, None, "leaky_relu", self.negative_slope).reduce(query, key)


@dataclass(frozen=True, eq=False)
class Cosine(Reduced):
    """cos(query, key) / temperature (Liu et al. 2022, Swin Transformer V2, eq. 2; also Henry et al. 2020). A zero vector scores 0.

    Args:
        temperature: [heads] or a number, above 0.
    """

    temperature: Tensor | float = 1.0

    name = "cosine"
    wants_width = True

    def __post_init__(self):
        check_positive("temperature", self.temperature)

    @property
    def parameters(self):
        return (self.temperature,) if isinstance(self.temperature, Tensor) else ()

    def replace(self, *parameters):
        return replace(self, temperature=parameters[0]) if parameters else self

    def check(self, heads, dim, edge_dim):
        if isinstance(self.temperature, Tensor):
            check_shape("'temperature' of the cosine score", "[heads]", self.temperature, heads)

    def reduce(self, query, key):
        query = to_unit(query) / of_heads(self.temperature, query)
        return query, to_unit(key), Dot()


@dataclass(frozen=True, eq=False)
class Bilinear(Reduced):
    """queryᵀ weight key, per head (Luong et al. 2015, eq. 8, 'general').

    Args:
        weight: [heads, dim, dim], from queries to keys.
    """

    weight: Tensor

    name = "bilinear"
    wants_width = True

    @property
    def parameters(self):
        return (self.weight,)

    def replace(self, *parameters):
        return Bilinear(*parameters)

    def check(self, heads, dim, edge_dim):
        check_shape("'weight' of the bilinear score", "[heads, dim, dim]", self.weight, heads, dim, dim)

    def reduce(self, query, key):
        return torch.einsum("...hc,hcd->...hd", query, self.weight.to(query)), key, Dot()


@dataclass(frozen=True, eq=False)
class Gaussian(Reduced):
    """-|query - key|² / (2 bandwidth²), so that softmax weighs keys by a Gaussian kernel around the query (Nadaraya 1964).

    It is computed as (query · key - |query|² / 2 - |key|² / 2) / bandwidth²: where vectors are long beside their distances,
    subtract their mean first.

    Args:
        bandwidth: [heads] or a number, above 0, in the unit of queries and keys.
    """

    bandwidth: Tensor | float = 1.0

    name = "gaussian"
    wants_width = True

    def __post_init__(self):
        check_positive("bandwidth", self.bandwidth)

    @property
    def parameters(self):
        return (self.bandwidth,) if isinstance(self.bandwidth, Tensor) else ()

    def replace(self, *parameters):
        return replace(self, bandwidth=parameters[0]) if parameters else self

    def check(self, heads, dim, edge_dim):
        if isinstance(self.bandwidth, Tensor):
            check_shape("'bandwidth' of the Gaussian score", "[heads]", self.bandwidth, heads)

    def reduce(self, query, key):
        """[query, -|query|²/2, 1] / bandwidth² times [key, 1, -|key|²/2]."""
        halves = [-x.square().sum(-1, keepdim=True) / 2 for x in (query, key)]
        ones = [torch.ones_like(x) for x in halves]
        query = torch.cat([query, halves[0], ones[0]], -1) / of_heads(self.bandwidth, query) ** 2
        return query, torch.cat([key, ones[1], halves[1]], -1), Dot()


@dataclass(frozen=True, eq=False)
class Custom(Score):
    """function(query, key, *tensors), any differentiable function of pairs; it runs on 'edges_torch'.

    Args:
        function: `query`, `key` [..., heads, dim] of one shape -> scores [..., heads]. Its gradients flow to query, key and
            `tensors`, and to nothing else: a tensor that it closes over and that needs a gradient is refused. It sees all heads
            together, so that NaN and infinity in a head that loses the edge (a bias of -inf) count as 1 for the others.
        tensors: Further arguments, differentiable.
        batch: How many examples lie side by side in the heads; None if there is no batch.
    """

    function: Callable[..., Tensor]
    tensors: tuple[Tensor, ...] = ()
    batch: int | None = None

    name = "custom"

    @property
    def parameters(self):
        return self.tensors

    def replace(self, *parameters):
        return replace(self, tensors=parameters)

    def for_batch(self, batch):
        return replace(self, batch=batch)

    def at_heads(self, heads):
        raise ValueError("a function as score, or a module, sees all heads together and cannot be cut to some of them")

    def check(self, heads, dim, edge_dim):
        sample = (self.tensors or (torch.empty(0),))[0]
        dtype = sample.dtype if sample.is_floating_point() else torch.float32
        none = torch.zeros(0, heads, dim, dtype=dtype, device=sample.device)
        with torch.enable_grad():
            scores = self.function(none, none, *(x.detach() for x in self.tensors))
        if not isinstance(scores, Tensor) or scores.shape != (0, heads):
            got = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise ValueError(
                f"'score' must give [..., heads] for [..., heads, dim] (got {got} for [0, {heads}, {dim}])"
            )
        if scores.requires_grad:
            raise ValueError(
                "'score' closes over a tensor that needs a gradient, which would be lost; give it as an argument,"
                " Custom(function, (tensor,)), or give a torch.nn.Module"
            )

    def between(self, query, key, edge_features):
        query, key = torch.broadcast_tensors(query, key)
        if self.batch is not None:
            query, key = (x.unflatten(-2, (self.batch, -1)) for x in (query, key))
        scores = self.function(query, key, *(x.to(query.dtype) for x in self.tensors))
        return scores if self.batch is None else scores.flatten(-2)


def of_module(module: Module) -> Custom:
    """A module (query, key) -> scores as a score, with gradients for its parameters."""
    names, tensors = (
        zip(*module.named_parameters(), strict=True) if any(True for _ in module.parameters()) else ((), ())
    )
    return Custom(
        lambda query, key, *x: functional_call(module, dict(zip(names, x, strict=True)), (query, key)), tensors
    )


SCORES = {"dot": Dot, "cosine": Cosine, "gaussian": Gaussian}


def as_score(score: str | Score | Callable[[Tensor, Tensor], Tensor]) -> Score:
    """The score that a string names, or that a function or module computes; a Score object stands for itself."""
    if isinstance(score, Score):
        check_name(score, OWN)
        return score
    if isinstance(score, Module):
        return of_module(score)
    if callable(score) and not isinstance(score, type):
        return Custom(score)
    if isinstance(score, str) and score in SCORES:
        return SCORES[score]()
    raise ValueError(
        f"'score' must be one of {list(SCORES)}, a Score such as Additive(vector), or a function (query, key) -> scores"
        f" (got {score!r})"
    )


OWN = {kind.name: kind for kind in (Dot, Additive, Gat, Cosine, Bilinear, Gaussian, Custom)}


def widened(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def to_unit(x: Tensor) -> Tensor:
    """x / |x|, of any length that the dtype can hold, and x where |x| = 0; squares are added up in float32 at least."""
    if not x.size(-1):
        return x
    wide = widened(x)
    # Squares of numbers near the ends of the range would be 0 or infinite: the largest of them becomes 1 first.
    least, most = torch.finfo(wide.dtype).tiny, torch.finfo(wide.dtype).max
    longest = wide.detach().abs().amax(-1, keepdim=True)
    is_usual = (longest > least**SAFE_POWER) & (longest < most**SAFE_POWER)
    wide = wide / torch.where(is_usual, 1.0, longest.clamp(min=least))
    square = wide.square().sum(-1, keepdim=True)
    return (wide * square.masked_fill(square == 0, 1.0).rsqrt()).to(x.dtype)


def of_heads(number: Tensor | float, like: Tensor) -> Tensor | float:
    """[heads] -> [heads, 1], to go with [..., heads, dim]."""
    return number.to(like)[:, None] if isinstance(number, Tensor) else number


def check_shape(name: str, axes: str, tensor: Tensor, *expected: int) -> None:
    if not isinstance(tensor, Tensor) or tensor.shape != expected:
        got = list(tensor.shape) if isinstance(tensor, Tensor) else repr(tensor)
        raise ValueError(f"{name} must be {axes} = {list(expected)} (got {got})")


def check_positive(name: str, number: Tensor | float) -> None:
    is_number = isinstance(number, (int, float, np.number)) and not isinstance(number, bool)
    if not isinstance(number, Tensor) and not (is_number and 0 < number < float("inf")):
        raise ValueError(f"'{name}' must be a tensor [heads] or a finite number above 0 (got {number!r})")
