"""The same engine from a terminal: `python -m engine generate "a red castle" --out castle.png`."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Never

from engine import EngineError, InvalidRequest, Settings
from engine.library.a1111 import parse_parameters
from engine.library.backup import back_up, restore
from engine.library.carriers import read_texts
from engine.library.metadata import read_recipe
from engine.library.passwords import hashed_line
from engine.terminal.fetching import fetch_lora, fetch_preprocessor
from engine.terminal.flags import add_flags
from engine.terminal.generate import generate
from engine.terminal.models import ACTS


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
    """Print the recipe inside a picture; of another program's picture, what its settings mean here."""
    texts = read_texts(Path(options.file))
    found = None if texts.recipe is not None or texts.parameters is None else parse_parameters(texts.parameters)
    plain = read_recipe(Path(options.file)).to_plain() if found is None else asdict(found)
    print(json.dumps(plain, indent=2, ensure_ascii=False))
    return 0


def password(options: argparse.Namespace) -> int:
    """Print a line for --auth-file. The password is asked for, so that no shell remembers it; a pipe may bring it too."""
    given = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    print(hashed_line(options.name, given))
    return 0


def save(options: argparse.Namespace) -> int:
    """Write a studio into one file; it may run meanwhile."""
    settings = _settings(options)
    facts = back_up(settings.data, Path(options.file), settings.database_url)
    absent = f"; {facts.absent} listed files are gone" if facts.absent else ""
    print(
        f"{options.file}  {facts.jobs} jobs  {facts.pictures} pictures  {facts.inputs} inputs  {facts.paused} paused  {facts.bytes / 1e6:.1f} MB{absent}"
    )
    return 0


def bring_back(options: argparse.Namespace) -> int:
    """Unpack a backup into a folder that has no studio yet."""
    settings = _settings(options)
    restore(Path(options.file), settings.data, settings.database_url)
    print(f"{options.file} is in {settings.data}. Jobs that were open go on when the studio starts.")
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    given = {"data": options.data, "database_url": options.database_url}
    return Settings(**{name: value for name, value in given.items() if value is not None})


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m engine", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    make = commands.add_parser("generate", help="draw pictures from words, or from words and a picture")
    add_flags(make)
    make.add_argument("--json", action="store_true", help="print the result as JSON")
    make.add_argument("--data", help="data folder (default: EASEL_DATA or ./data)")
    make.set_defaults(run=generate)
    look = commands.add_parser("inspect", help="print the settings inside a picture as JSON")
    look.add_argument("file")
    look.set_defaults(run=inspect)
    add = commands.add_parser("password", help="print a line for --auth-file")
    add.add_argument("name")
    add.set_defaults(run=password)
    for name, run, words in (("backup", save, "write database, pictures and inputs into one file"), ("restore", bring_back, "unpack a backup")):
        command = commands.add_parser(name, help=words)
        command.add_argument("file")
        command.add_argument("--data", help="data folder (default: EASEL_DATA or ./data)")
        command.add_argument("--database-url", help="the studio's PostgreSQL, if it has one (default: EASEL_DATABASE_URL)")
        command.set_defaults(run=run)
    weights = commands.add_parser("fetch-preprocessor", help="bring the weights of a preprocessor here, once; without a name, list them all")
    weights.add_argument("name", nargs="?")
    weights.set_defaults(run=fetch_preprocessor)
    adapter = commands.add_parser("fetch-lora", help="bring a LoRA file from the hub into the rack: owner/name or owner/name/file.safetensors")
    adapter.add_argument("name")
    adapter.set_defaults(run=fetch_lora)
    models = commands.add_parser(
        "models",
        help="list the models that are here; look at one on the hub, or download it: models download owner/name; choose how they lie in memory: models memory parts",
    )
    models.add_argument("act", nargs="?", choices=tuple(ACTS), default="list")
    models.add_argument("name", nargs="?", help="owner/name, with @revision if you like; for memory the name of a plan")
    models.add_argument("--full", action="store_true", help="in 32 bit, where the hub has both")
    models.set_defaults(run=lambda options: ACTS[options.act](options))
    for fetch in (weights, adapter, models):
        fetch.add_argument("--yes", action="store_true", help="do not ask: size and licence are known")
        fetch.add_argument("--data", help="data folder (default: EASEL_DATA or ./data)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
