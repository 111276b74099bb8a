"""The libraries of a process that draws: they run no code that was not installed with them, and say nothing that nobody asked about."""

from __future__ import annotations

import logging
import os
import sys


def prepare_libraries() -> None:
    """Called once by whoever owns a process that draws, before any other module of this room is imported."""
    _bar_foreign_code()
    _quiet()


def _bar_foreign_code() -> None:
    os.environ["DIFFUSERS_DISABLE_REMOTE_CODE"] = "1"
    # bitsandbytes, at its import, and transformers fetch compiled code from a hub where the package `kernels` is installed, and
    # neither has a switch for it. None is Python's own word for a module that cannot be imported. What is computed is the same.
    sys.modules["kernels"] = None  # pyright: ignore[reportArgumentType]
    # It complains that it could not.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def _quiet() -> None:
    """The libraries' progress bars and notices are useful to a developer, noise in a studio's log: errors only, no bars."""
    # diffusers imports torchao with its models wherever it is installed, wanted or not, and has no switch for it. torch then
    # speaks of how torchao registers two enums, and diffusers of classes that torchao no longer has; int8 needs neither.
    logging.getLogger("torch.utils._pytree").addFilter(_is_news)
    # Not at the top: they must find the code of others barred. And before the models of diffusers, which speak as they are imported.
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()


def _is_news(record: logging.LogRecord) -> bool:
    """Whether torch speaks of anything but those enums. By the text before its values are filled in: they are the enums' names."""
    return not str(record.msg).startswith("%s is an Enum subclass and is now natively supported by torch.compile as an opaque value type.")
