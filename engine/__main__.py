"""The same engine from a terminal: `python -m engine generate "a red castle" --out castle.png`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Never

from engine import EngineError, InvalidRequest
from engine.library.metadata import read_recipe
from engine.terminal.controls import fetch_preprocessor
from engine.terminal.flags import add_flags
from engine.terminal.generate import generate


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with a flag without printing all of them."""

    def error(self, message: str) -> Never:
        self.exit(2, f"{message}\nSee: {self.prog} --help\n")


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, InvalidRequest) else 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130


def inspect(options: argparse.Namespace) -> int:
    """Print the recipe inside a picture."""
    recipe = read_recipe(Path(options.file))
    print(json.dumps(recipe.to_plain(), indent=2, ensure_ascii=False))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m engine", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    make = commands.add_parser("generate", help="draw pictures from words, or from words and a picture")
    add_flags(make)
    make.add_argument("--json", action="store_true", help="print the result as JSON")
    make.add_argument("--data", help="data folder (default: EASEL_DATA or ./data)")
    make.set_defaults(run=generate)
    look = commands.add_parser("inspect", help="print the recipe of a picture as JSON")
    look.add_argument("file")
    look.set_defaults(run=inspect)
    fetch = commands.add_parser("fetch-preprocessor", help="bring the weights of a preprocessor here, once; without a name, list them all")
    fetch.add_argument("name", nargs="?")
    fetch.add_argument("--yes", action="store_true", help="do not ask: size and licence are known")
    fetch.add_argument("--data", help="data folder (default: EASEL_DATA or ./data)")
    fetch.set_defaults(run=fetch_preprocessor)
    return parser


if __name__ == "__main__":
    sys.exit(main())
