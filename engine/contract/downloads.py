"""Models on their way from the hub: where each stands."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

DownloadState = Literal["waiting", "fetching", "checking", "stopped", "failed"]


class Download(BaseModel):
    """A model that is not here yet. Once it is, there is no download any more but a model.

    `here_bytes` of `total_bytes` are on the disk. `file` is what is being read, the first `file_here_bytes` of it are here.
    `bytes_per_s` and `left_s` are None until they can be told. `error` says why it failed; its beginning is kept all the same.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    title: str
    source: str
    licence: str
    state: DownloadState
    total_bytes: int
    here_bytes: int
    files: int
    files_here: int = 0
    file: str = ""
    file_bytes: int = 0
    file_here_bytes: int = 0
    bytes_per_s: float | None = None
    left_s: float | None = None
    error: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it goes on by itself."""
        return self.state in ("waiting", "fetching", "checking")
