"""A parser whose errors say where the examples are."""

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """As argparse's; what it says of a wrong command ends with the way to its help."""

    def error(self, message: str) -> NoReturn:
        hint = "lists the commands" if self.prog.count(" ") == 0 else "has examples"
        self.exit(2, f"{self.format_usage()}{self.prog}: error: {message}\n{self.prog} --help {hint}\n")
