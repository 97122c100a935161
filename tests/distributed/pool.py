"""Processes that stay, so that many cases are run for the start of one: `Pool(4).run(function, *arguments)`."""

import tempfile
import traceback
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist


def work(rank, size, path, pipe):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{path}", rank=rank, world_size=size, timeout=timedelta(seconds=30)
    )
    while True:
        task = pipe.recv()
        if task is None:
            break
        function, arguments = task
        try:
            pipe.send((True, function(*arguments)))
        except Exception as error:
            pipe.send((False, f"rank {rank}: {type(error).__name__}: {error}\n{traceback.format_exc()}"))
    dist.destroy_process_group()


class Pool:
    def __init__(self, size):
        self.folder = tempfile.TemporaryDirectory()
        context = torch.multiprocessing.get_context("spawn")
        self.pipes, self.processes = [], []
        for rank in range(size):
            own, other = context.Pipe()
            arguments = rank, size, Path(self.folder.name, "store").as_posix(), other
            process = context.Process(target=work, args=arguments, daemon=True)
            process.start()
            self.pipes.append(own)
            self.processes.append(process)

    def start(self, function, *arguments):
        for pipe in self.pipes:
            pipe.send((function, arguments))

    def run(self, function, *arguments, seconds=150):
        """What the function gave on each rank; AssertionError with the trace of all ranks on which it raised."""
        self.start(function, *arguments)
        results = []
        for rank, pipe in enumerate(self.pipes):
            assert pipe.poll(seconds), f"rank {rank} did not answer within {seconds} seconds"
            results.append(pipe.recv())
        failed = [words for is_well, words in results if not is_well]
        assert not failed, "\n".join(failed)
        return [result for _, result in results]

    def close(self):
        for pipe in self.pipes:
            try:
                pipe.send(None)
            except OSError:
                continue
        for process in self.processes:
            process.join(5)
            process.kill()
        self.folder.cleanup()
