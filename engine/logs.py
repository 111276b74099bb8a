"""One line for each thing that happens, as `key=value`: for eyes, for grep and for collectors alike. No prompts."""

from __future__ import annotations

import json
import logging
import re
import time

_PLAIN = re.compile(r"[A-Za-z0-9_.:/+-]+")


def set_up_logs(level: str) -> None:
    """Everything goes to stderr. Which job a line is about is given as `extra={"job": id}`."""
    handler = logging.StreamHandler()
    handler.setFormatter(KeyValue())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # At "debug" our own rooms speak; the libraries' chatter holds what people wrote.
    for noisy in ("alembic", "httpx", "httpx2", "httpcore", "PIL", "asyncio", "multipart", "python_multipart"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class KeyValue(logging.Formatter):
    """`time=… level=info room=easel.jobs job=… said="finished"`; a traceback is one more value, so a line stays a line."""

    def format(self, record: logging.LogRecord) -> str:
        values: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "room": record.name,
        }
        values |= {name: getattr(record, name) for name in ("job", "ending", "seconds", "steps") if hasattr(record, name)}
        values["said"] = record.getMessage()
        if record.exc_info:
            values["trace"] = self.formatException(record.exc_info)
        return " ".join(f"{name}={_shown(value)}" for name, value in values.items())


def _shown(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
