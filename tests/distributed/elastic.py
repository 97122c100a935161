"""The example on two villages, of which a process is killed the first time: run by torch.distributed.run."""

import json
import os
import signal
import sys
from pathlib import Path

import torch.distributed as dist

from tests.distributed import example

RESTARTS = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
DIES_AFTER = 3  # epochs


def main(folder: Path) -> None:
    example.example.start_processes()
    steps, step, save = [], example.example.step, example.example.save_checkpoint

    def counted(*arguments):
        steps.append(len(steps))
        return step(*arguments)

    def save_and_die(folder, model, optimizer, schedule, epoch, loss):
        save(folder, model, optimizer, schedule, epoch, loss)
        dist.barrier()  # so that the epoch is known to be done
        if epoch == DIES_AFTER and RESTARTS == 0 and dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    example.example.step, example.example.save_checkpoint = counted, save_and_die
    result = example.train(folder=folder)
    if dist.get_rank() == 0:
        (folder / "result.json").write_text(json.dumps(result | {"restarts": RESTARTS, "steps": len(steps)}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
