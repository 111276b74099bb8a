"""The libraries' progress bars and notices: useful to a developer, noise in a studio's log."""

from __future__ import annotations

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging


def quiet_libraries() -> None:
    """Errors only, no bars. Called by whoever owns the process, never on import."""
    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
