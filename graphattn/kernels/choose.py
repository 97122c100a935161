"""Which kernel runs: the first of KERNELS that can, and that does not wait for a faster one (see `policy.py`)."""

from typing import NamedTuple

from graphattn.kernels.cuda.cudnn_cuda import CudnnCuda
from graphattn.kernels.cuda.edges_cuda import EdgesCuda
from graphattn.kernels.cuda.efficient_cuda import EfficientCuda
from graphattn.kernels.cuda.flash_cuda import FlashCuda
from graphattn.kernels.cuda.flex import Flex
from graphattn.kernels.facts import check_facts, unfit_fact
from graphattn.kernels.finite import AreFinite
from graphattn.kernels.fused.banded_torch import BandedTorch
from graphattn.kernels.fused.dense import Dense
from graphattn.kernels.fused.grid import Grid
from graphattn.kernels.fused.sdpa import Sdpa
from graphattn.kernels.kernel import Inputs, Kernel, Plan
from graphattn.kernels.native.banded_cpu import BandedCpu
from graphattn.kernels.native.edges_cpu import EdgesCpu
from graphattn.kernels.native.grid_cpu import GridCpu
from graphattn.kernels.plain.edges_torch import EdgesTorch
from graphattn.kernels.plain.reference import Reference
from graphattn.kernels.policy import why_wait

# Fastest first, but for what `policy.py` says; 'reference' is for tests.
KERNELS: list[Kernel] = [
    Sdpa(), BandedCpu(), BandedTorch(), GridCpu(), Grid(), Dense(), EdgesCpu(), CudnnCuda(), FlashCuda(), EfficientCuda(), Flex(),
    EdgesCuda(), EdgesTorch(), Reference(),
]  # fmt: skip

OWN = tuple(KERNELS)


def register_kernel(kernel: Kernel, before: str | None = None) -> None:
    """Puts a kernel of your own into the order in which they are asked, for this process.

    Args:
        kernel: An object of a subclass of `Kernel`, with a `name` that no other has.
        before: Name of the kernel that it stands before, as the faster one; by default before all.

    Raises:
        TypeError: if it is no kernel, or a fact that it declares is of another kind than `Facts` says.
        ValueError: if its name is taken, or no kernel is named `before`.
    """
    if not isinstance(kernel, Kernel):
        raise TypeError(f"'kernel' must be an object of a subclass of Kernel (got {kernel!r})")
    names = [known.name for known in KERNELS]
    taken = [*names, *sorted({known.family for known in KERNELS if known.family is not None})]
    if not isinstance(getattr(kernel, "name", None), str) or kernel.name in taken:
        raise ValueError(
            f"a kernel needs a name of its own, other than {taken} (got {getattr(kernel, 'name', None)!r})"
        )
    check_facts(kernel)
    if before is not None and before not in names:
        raise ValueError(f"'before' must be one of {names} (got {before!r})")
    KERNELS.insert(0 if before is None else names.index(before), kernel)


def remove_kernel(name: str) -> None:
    """Takes a kernel that `register_kernel` put in out of the order.

    Raises:
        ValueError: if none of that name was registered.
    """
    found = [kernel for kernel in KERNELS if kernel.name == name and kernel not in OWN]
    if not found:
        raise ValueError(f"no kernel of that name was registered (got {name!r})")
    KERNELS.remove(found[0])


class Choice(NamedTuple):
    """The kernel that runs, and for every kernel before it in the order the sentence that says why not."""

    kernel: str
    refusals: dict[str, str]


def select(plan: Plan, inputs: Inputs, name: str | None = None, is_finite: bool | None = None) -> Kernel:
    """The kernel for one part.

    `is_finite` says whether keys and values are; None: they are looked at where a kernel must know. On CPU the graph remembers
    the answer to what it was asked before: for a small graph the question takes as long as the loops.
    """
    if is_finite is None or has_others() or inputs.query.device.type != "cpu":
        return first_that_runs(plan, inputs, name, is_finite)
    if plan.memory is not None:
        return plan.remember(("kernel", name, is_finite), lambda: first_that_runs(plan, inputs, name, is_finite))
    if name is not None:
        return first_that_runs(plan, inputs, name, is_finite)
    asked = "kernel", is_finite, *facts_of(plan, inputs)
    return plan.graph.remember(asked, lambda: first_that_runs(plan, inputs, None, is_finite))


def has_others() -> bool:
    """Whether kernels from outside are asked too, which may look at anything."""
    return len(KERNELS) > len(OWN)


def facts_of(plan: Plan, inputs: Inputs) -> tuple:
    """All that kernels of this package look at beside the graph to say whether they run; no numbers of tensors."""
    query, key, value, bias, edge_features, edge_query, _, by_offset = inputs
    options = plan.score.name, plan.normalizer.name, plan.dropout > 0
    per_edge = bias is None, edge_features is None, edge_query is None, by_offset is None
    return (*options, query.dtype, query.shape, key.shape, value.shape, *per_edge)


def first_that_runs(plan: Plan, inputs: Inputs, name: str | None, is_finite: bool | None) -> Kernel:
    """`select` without remembering; where `name` is given, among the kernels of this name or family."""
    for kernel in candidates(name):
        if not can_run(kernel, plan, inputs, name):
            continue
        if not kernel.spreads_nan(plan):
            return kernel
        is_finite = AreFinite(inputs.key, inputs.value).answer() if is_finite is None else is_finite
        if is_finite:
            return kernel
    return explain(plan, inputs, name, is_finite)[0]  # which raises, with all sentences


def can_run(kernel: Kernel, plan: Plan, inputs: Inputs, name: str | None) -> bool:
    """Whether neither `why_wait` nor `kernel.why_not` has anything to say; of facts that do not fit no sentence is made."""
    if type(kernel).why_not is not Kernel.why_not or "why_not" in vars(kernel):
        return why_wait(kernel, plan, inputs, name) is None and kernel.why_not(plan, inputs) is None
    if unfit_fact(kernel, plan, inputs) is not None:  # first, for most kernels end here
        return False
    return why_wait(kernel, plan, inputs, name) is None and kernel.why_not_here(plan, inputs) is None


def explain(
    plan: Plan, inputs: Inputs, name: str | None = None, is_finite: bool | None = None
) -> tuple[Kernel, dict[str, str]]:
    """What `first_that_runs` finds, and why the others before it refuse."""
    refusals: dict[str, str] = {}
    for kernel in candidates(name):
        reason = why_wait(kernel, plan, inputs, name) or kernel.why_not(plan, inputs)
        if reason is None and kernel.spreads_nan(plan):
            is_finite = AreFinite(inputs.key, inputs.value).answer() if is_finite is None else is_finite
            if not is_finite:
                reason = f"'{kernel.name}' would spread NaN and infinity of hidden keys over queries near them"
        if reason is None:
            return kernel, refusals
        refusals[kernel.name] = reason
    raise ValueError(f"no kernel named {name!r} can run this: " + "; ".join(refusals.values()))


def candidates(name: str | None) -> list[Kernel]:
    """In the order in which they are asked."""
    if name is None:
        return list(KERNELS)
    found = [kernel for kernel in KERNELS if name in (kernel.name, kernel.family)]
    if not found:
        names, families = ([getattr(kernel, of) for kernel in KERNELS] for of in ("name", "family"))
        raise ValueError(
            f"'kernel' must be one of {names}, or of the families {sorted({*families} - {None})} (got {name!r})"
        )
    return found
