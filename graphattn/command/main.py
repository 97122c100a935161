"""The door of the command line: which commands there are, and how errors become exit codes."""

import argparse
import importlib
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from graphattn.command.parser import Parser
from graphattn.version import __version__

# Name of a command: its module, with SUMMARY (one line), EXAMPLES (lines for --help), add_arguments(parser) and run(args).
COMMANDS = {
    "tour": "graphattn.command.tour",
    "train": "graphattn.command.train",
    "predict": "graphattn.command.predict",
    "explore": "graphattn.command.explore",
    "export": "graphattn.command.export",
    "why": "graphattn.command.why",
}

CODES = """exit codes: 0 done, 1 the data or files are not as they need to be (the message says what to do), 2 the command is not,
130 interrupted"""


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(
        "graphattn",
        description="Self-attention where the mask is a graph: a tour, training on data of your own, predictions, and why a"
        " kernel runs.",
        epilog=f"graphattn COMMAND --help has examples\n\n{CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"graphattn {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module_name in COMMANDS.items():
        module = importlib.import_module(module_name)
        command = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=f"{module.SUMMARY}.",
            epilog=f"examples:\n{module.EXAMPLES.rstrip()}\n\n{CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code. Without any it prints the help, to the error stream, and gives 2.

    >>> main(['why', 'complete', '50', '--heads', '2', '--dim', '8'])  # doctest: +ELLIPSIS
    CompleteGraph(50), 2,500 edges: banded_cpu runs
    ...
    0
    """
    parser, words = make_parser(), sys.argv[1:] if arguments is None else arguments
    if not words:
        parser.print_help(sys.stderr)
        return 2
    args = parser.parse_args(words)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = tell  # type: ignore[assignment] # which takes the place as it comes
            return args.run(args)
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
        print(f"graphattn {args.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"graphattn {args.command}: interrupted", file=sys.stderr)
        return 130


def tell(message: Warning | str, category: type[Warning], *place: Any) -> None:
    """A warning in a line of its own; where in the sources it came from helps nobody here."""
    print(f"warning: {message}", file=sys.stderr)
