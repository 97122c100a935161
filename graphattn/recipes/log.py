"""Numbers of every epoch for TensorBoard."""

import os
from collections.abc import Callable, Mapping

Log = Callable[[int, Mapping[str, float]], None]


def tensorboard(folder: str | os.PathLike[str]) -> Log:
    """A function (epoch, numbers) that writes them to `folder`.

    Raises ImportError without the package `tensorboard`.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            f"a log needs TensorBoard ({error}); pip install tensorboard, or leave the log out: the history of every epoch is"
            " in the result all the same"
        ) from error
    writer = SummaryWriter(os.fspath(folder))

    def log(epoch: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name.replace(" ", "/"), value, epoch)
        writer.flush()

    return log
