"""Whether there is the device that is asked for."""

import torch


def check_device(device: str) -> None:
    """Raises ValueError where torch has no such device here.

    >>> check_device('gpu')  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: torch has no device 'gpu' here (...); give cpu, or one that torch finds
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:  # torch without CUDA raises an AssertionError
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"torch has no device {device!r} here ({reason}); give cpu, or one that torch finds"
        ) from error
