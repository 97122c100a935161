"""Runs cases, prints a table as it grows, and saves it: Markdown, raw figures, a picture of a sweep."""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.measure import PASSES, Case, Timing, calls_of, check, interleaved
from benchmarks.memory import peak_memory

HEADER = ("work", "pass", "peer", "median", "quartiles", "times the first", "extra memory", "kept", "cores")


@dataclass
class Row:
    """One peer doing one pass of one piece of work. Seconds and bytes; `size` is the place on the axis of a sweep."""

    work: str
    pass_: str
    peer: str
    timing: Timing
    ratio: float  # to the first peer
    extra: int | None = None
    kept: int | None = None
    size: float | None = None

    def cells(self) -> tuple[str, ...]:
        quartiles = f"{seconds(self.timing.low)} ... {seconds(self.timing.high)}"
        memory = (megabytes(self.extra), megabytes(self.kept))
        times = seconds(self.timing.median), quartiles, f"{self.ratio:.2f}"
        return self.work, self.pass_, self.peer, *times, *memory, f"{self.timing.cores:.1f}"


def seconds(value: float) -> str:
    return f"{value * 1e6:.0f} us" if value < 1e-3 else f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def megabytes(value: int | None) -> str:
    return "" if value is None else f"{value / 2**20:.0f} MiB" if value >= 2**20 else "< 1 MiB"


def line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--threads", type=int, help="torch.set_num_threads (default: torch's)")
    options.add_argument("--rounds", type=int, default=9, help="how often each peer is timed, in turn (default 9)")
    options.add_argument(
        "--no-memory", action="store_true", help="time only: no process for each measurement of memory"
    )
    options.add_argument("--out", type=Path, default=Path("results"), help="folder for tables and pictures")
    options.add_argument("--only", help="only works whose name contains this text")
    return options


def machine() -> str:
    load = ", ".join(f"{x:.2f}" for x in os.getloadavg())
    return (
        f"{time.strftime('%Y-%m-%d %H:%M')}, torch {torch.__version__}, {torch.get_num_threads()} threads of"
        f" {os.cpu_count()} cores, {platform.machine()}, load average {load}"
    )


def processor() -> str:
    """The name of the processor, if the system tells."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


class Report:
    """The growing table of one benchmark."""

    def __init__(self, name: str, options: argparse.Namespace):
        torch.set_num_threads(options.threads or torch.get_num_threads())
        torch.manual_seed(0)
        self.name, self.options, self.rows = name, options, []
        self.lines: list[str] = []
        self.say(f"# {name}: {machine()}\n")
        self.say(line(HEADER) + "\n" + line(("---",) * len(HEADER)))

    def say(self, text: str) -> None:
        print(text, flush=True)
        self.lines.append(text)

    def wants(self, work: str) -> bool:
        """Whether `--only` lets this work through."""
        return not self.options.only or self.options.only in work

    def run(
        self,
        work: str,
        build: Callable[..., Case],
        *arguments,
        passes=tuple(PASSES),
        size: float | None = None,
        rounds: int | None = None,
    ) -> None:
        """Checks, times and weighs every peer of `build(*arguments)`; `build` stands at the top of its module."""
        if not self.wants(work):
            return
        case = build(*arguments)
        if case.prepare is not None:
            start = time.perf_counter()
            case.prepare()
            work += f" (once: {seconds(time.perf_counter() - start)})"
        check(case)
        rounds = rounds or self.options.rounds
        beside = case.beside or (lambda _: {})
        found = {pass_: interleaved(calls_of(case, pass_) | beside(pass_), rounds) for pass_ in passes}
        weighed = () if self.options.no_memory else tuple(case.peers)
        del case  # its memory may be wanted by the processes that measure memory
        for pass_, timings in found.items():
            first = next(iter(timings.values())).median
            for peer, timing in timings.items():
                row = Row(work, pass_, peer, timing, timing.median / first, size=size)
                if peer in weighed:
                    memory = peak_memory(build, arguments, pass_, peer)
                    row.extra, row.kept = (None, None) if memory is None else memory
                self.rows.append(row)
                self.say(line(row.cells()))

    def save(self) -> None:
        """results/NAME.md and results/NAME.json; NAME.png if a sweep was run."""
        self.say(f"\nload average at the end: {', '.join(f'{x:.2f}' for x in os.getloadavg())}")
        self.options.out.mkdir(parents=True, exist_ok=True)
        target = self.options.out / self.name
        target.with_suffix(".md").write_text("\n".join(self.lines) + "\n")
        raw = [{**asdict(row), "timing": row.timing._asdict()} for row in self.rows]
        target.with_suffix(".json").write_text(json.dumps({"machine": machine(), "rows": raw}, indent=1))
        if any(row.size is not None for row in self.rows):
            from benchmarks.picture import draw

            draw([row for row in self.rows if row.size is not None], target.with_suffix(".png"))
