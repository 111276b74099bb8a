"""Everything that can go wrong and that a designer can be told.

    EngineError
    ├── InvalidRequest       a control holds something that cannot run
    ├── ModelNotFound        the named model is not on this machine
    ├── IncompatibleAdapter  a LoRA, embedding or control made for another family
    ├── DamagedFile          a file is cut short, altered or not what it claims to be
    ├── OutOfMemory          the device has no room for this size or count
    ├── DiskFull             the picture could not be kept
    ├── WorkerLost           the process that draws has died
    ├── BadNumbers           the model produced no numbers that make a picture
    ├── NotFound             no such job or picture, or it belongs to somebody else
    ├── Busy                 a limit of this studio is reached
    ├── Unreachable          the hub does not answer, or the line broke: worth another try
    ├── DatabaseBusy         another program holds the database
    └── DatabaseMissing      the database of this studio cannot be opened

Being stopped is an ending (`events.Cancelled`), not an error.
"""

from __future__ import annotations


class EngineError(Exception):
    """What happened (`message`), what to do next (`hint`) and which control it is about (`field`)."""

    def __init__(self, message: str, hint: str = "", field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def to_plain(self) -> dict[str, str | None]:
        """A form that crosses a process boundary or a database row; `from_plain` is its inverse."""
        return {"type": type(self).__name__, "message": self.message, "hint": self.hint, "field": self.field}

    @staticmethod
    def from_plain(plain: dict[str, str | None]) -> EngineError:
        kind = {cls.__name__: cls for cls in EngineError.__subclasses__()}.get(plain.get("type") or "", EngineError)
        return kind(plain.get("message") or "", plain.get("hint") or "", plain.get("field"))


class InvalidRequest(EngineError):
    """A control holds something that cannot run."""


class ModelNotFound(EngineError):
    """The named model is not on this machine."""


class IncompatibleAdapter(EngineError):
    """An adapter was made for another family of models."""


class DamagedFile(EngineError):
    """A file is cut short, altered or not what it claims to be."""


class OutOfMemory(EngineError):
    """The device has no room for this size or count."""


class DiskFull(EngineError):
    """The picture could not be kept."""


class WorkerLost(EngineError):
    """The process that draws has died."""


class BadNumbers(EngineError):
    """NaN or infinite latents or pixels: never shown as a black picture."""


class NotFound(EngineError):
    """No such job or picture, or it belongs to somebody else; deliberately the same answer for both."""


class Busy(EngineError):
    """A limit of this studio is reached."""


class Unreachable(EngineError):
    """The hub does not answer, or the line broke. What has come so far is kept."""


class DatabaseBusy(EngineError):
    """Another program holds the database, for longer than a person would wait."""


class DatabaseMissing(EngineError):
    """The database of this studio cannot be opened."""
