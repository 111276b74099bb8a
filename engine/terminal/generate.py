"""A wish to jobs: everything is judged before the model is loaded, then each job is followed to its ending."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine import Cancelled, Ending, Engine, Failed, Finished, InvalidRequest, Loading, Progress, Settings, Sheet, apply_style, parse_request
from engine.library.uploads import BYTES_MAX
from engine.terminal.flags import Wish, read_wish
from engine.terminal.output import Made, print_made, write_cells, write_pictures, write_zip

OWNER = "terminal"


def generate(options: argparse.Namespace) -> int:
    """Draw, show progress on stderr, write the files, say what was made on stdout. 1 when a part of it failed."""
    wish = read_wish(options)
    chosen: dict[str, Any] = {} if options.data is None else {"data": Path(options.data)}
    started = time.monotonic()
    with closing(Engine(Settings(**chosen))) as engine:
        wish = _styled(engine, wish)
        made = _draw_sheet(engine, wish) if wish.is_sheet else _draw(engine, wish)
    print_made(made, time.monotonic() - started, as_json=options.json)
    return 1 if made.failed else 0


def _styled(engine: Engine, wish: Wish) -> Wish:
    """The wish with the words of its styles, in the order in which they were given."""
    prompt, negative = str(wish.values.get("prompt", "")), str(wish.values.get("negative_prompt", ""))
    for name in wish.styles:
        prompt, negative = apply_style(prompt, negative, engine.style(name))
    return replace(wish, values={**wish.values, "prompt": prompt, "negative_prompt": negative}) if wish.styles else wish


def _draw(engine: Engine, wish: Wish) -> Made:
    job = engine.submit(parse_request(_with_inputs(engine, wish)), OWNER)
    with _running(engine, [job.id]):
        ending = _follow(engine, job.id)
    match ending:
        case Finished(pictures=pictures):
            return write_pictures(pictures, wish.out)
        case Failed(error=error):
            raise error
        case Cancelled():
            raise KeyboardInterrupt


def _draw_sheet(engine: Engine, wish: Wish) -> Made:
    """Every cell is followed in turn; one that fails leaves the others alone."""
    sheet = _submit_sheet(engine, wish)
    jobs = [cell.job_id for cell in sheet.cells]
    with _running(engine, [job_id for job_id in jobs if job_id]):
        for number, job_id in enumerate(jobs, start=1):
            if job_id:
                _follow(engine, job_id, f"{number}/{len(jobs)}  ")
    cells = engine.sheets.cells(sheet)
    if wish.writes_zip and any(cell.pictures for cell in cells):
        return write_zip(engine, sheet, cells, wish.out, as_dataset=wish.is_dataset)
    return write_cells(cells, wish.out)


def _submit_sheet(engine: Engine, wish: Wish) -> Sheet:
    if wish.is_folder and wish.init is not None:
        try:
            with wish.init.open("rb") as file:
                sources = engine.add_folder(file, OWNER)
        except OSError as error:
            raise _unreadable(wish.init, "init", error) from error
        for one in sources:
            if one.image is not None:
                _tell(one.name, one.image.note)
        return engine.sheets.folder(sources, wish.values | _pictures(engine, wish) | _references(engine, wish) | _units(engine, wish), OWNER)
    values = _with_inputs(engine, wish)
    return engine.sheets.dataset(values, OWNER) if wish.is_dataset else engine.sheets.grid(values, list(wish.axes), OWNER)


def _with_inputs(engine: Engine, wish: Wish) -> dict[str, Any]:
    """The values with the hashes of source, mask and references."""
    values = dict(wish.values)
    if wish.init is not None:
        source = engine.add_input(_read(wish.init, "init"), OWNER)
        values["source"] = source.hash
        _tell(wish.init.name, source.note)
        if wish.mask is not None:
            values["mask"] = engine.add_mask(source.hash, _read(wish.mask, "mask"), OWNER).hash
    return values | _pictures(engine, wish) | _references(engine, wish) | _units(engine, wish)


def _pictures(engine: Engine, wish: Wish) -> dict[str, Any]:
    found = [_with_picture(engine, path, {}, "picture")["image"] for path in wish.pictures]
    return {"pictures": found} if found else {}


def _references(engine: Engine, wish: Wish) -> dict[str, Any]:
    found = [_with_picture(engine, path, settings, "ref") for path, settings in wish.refs]
    return {"references": found} if found else {}


def _units(engine: Engine, wish: Wish) -> dict[str, Any]:
    found = [_with_picture(engine, path, settings, "control") for path, settings in wish.units]
    return {"controls": found} if found else {}


def _with_picture(engine: Engine, path: Path, settings: dict[str, Any], flag: str) -> dict[str, Any]:
    """What a flag says about a picture, with the picture brought in."""
    image = engine.add_input(_read(path, flag), OWNER)
    _tell(path.name, image.note)
    return {"image": image.hash, **settings}


def _tell(name: str, note: str) -> None:
    """What was changed on the way in is never quiet."""
    if note:
        print(f"{name}: {note}", file=sys.stderr)


def _read(path: Path, flag: str) -> bytes:
    try:
        with path.open("rb") as file:
            # One byte more than the engine takes, so that it is the engine that refuses.
            return file.read(BYTES_MAX + 1)
    except OSError as error:
        raise _unreadable(path, flag, error) from error


def _unreadable(path: Path, flag: str, error: OSError) -> InvalidRequest:
    return InvalidRequest(f"Cannot read {path} ({error.strerror}).", f"Choose another --{flag}.", flag)


@contextmanager
def _running(engine: Engine, job_ids: list[str]) -> Generator[None]:
    """The worker runs inside; Ctrl+C stops these jobs, so that none goes on at the next start."""
    try:
        engine.start()
        yield
    except KeyboardInterrupt:
        for job_id in job_ids:
            engine.cancel(job_id, owner=OWNER)
        raise


def _follow(engine: Engine, job_id: str, place: str = "") -> Ending:
    with engine.watch(job_id, owner=OWNER, sees_previews=False) as watch:
        for event in watch:
            match event:
                case Loading(what=what):
                    _show(place + what)
                case Progress():
                    _show(place + bar(event))
                case Finished() | Cancelled() | Failed():
                    _show("")
                    return event
                case _:
                    pass
    raise AssertionError("a watch ends with an ending")


def bar(event: Progress, width: int = 24) -> str:
    """One line: picture, tile where there are several, the share of the picture that is done, step, time left."""
    done = round(width * (event.tile + event.step / event.steps) / event.tiles)
    tile = f"tile {event.tile + 1}/{event.tiles}  " if event.tiles > 1 else ""
    left = "" if event.left_s is None else f"  {event.left_s:.1f} s left"
    return f"picture {event.picture + 1}/{event.count}  {tile}{'█' * done}{'·' * (width - done)}  step {event.step}/{event.steps}{left}"


def _show(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)
