"""Files on the Hugging Face hub: pinned, weighed and licensed before a byte of them is fetched."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from engine.contract.errors import InvalidRequest

HUB_EXAMPLE = "owner/name"
_PAGE = re.compile(r"^https?://(?:www\.)?(?:huggingface\.co|hf\.co)/", re.IGNORECASE)
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_NAME = re.compile(rf"(?P<repository>{_PART}/{_PART})(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._-]{{0,99}}))?(?:/(?P<file>[^\x00-\x1f\\?#]{{1,300}}))?")


@dataclass(frozen=True)
class HubFile:
    """One file of a repository at one commit. The hub promises `sha256` of large files, and of small ones `blob`, the SHA-1 that git names them by."""

    repository: str
    revision: str
    path: str
    size_bytes: int
    sha256: str = ""
    blob: str = ""


@dataclass(frozen=True)
class HubName:
    """What somebody wrote: a repository, and perhaps a file in it and a revision."""

    repository: str
    file: str | None = None
    revision: str | None = None


class HubOffer(BaseModel):
    """An adapter on the hub as it lies there now, to be agreed to before it is fetched. `revision` is a commit, never a branch."""

    model_config = ConfigDict(frozen=True)

    repository: str
    revision: str
    path: str
    size_bytes: int
    sha256: str = ""
    licence: str = ""
    trigger: str = ""
    base: str = ""

    @property
    def file(self) -> HubFile:
        return HubFile(self.repository, self.revision, self.path, self.size_bytes, self.sha256)

    @property
    def id(self) -> str:
        """What to write to mean exactly this file again."""
        return f"{self.repository}@{self.revision}/{self.path}"


def _inside(path: str) -> str:
    if not is_inside(path):
        raise ValueError("leads out of its folder")
    return path


def is_inside(path: str) -> bool:
    """Whether a path of a repository stays in the folder that it is put into."""
    return bool(path) and not any(part in ("", ".", "..") for part in path.split("/")) and "\\" not in path and "\0" not in path


_Path = Annotated[str, Field(max_length=300), AfterValidator(_inside)]
Precision = Literal["half", "full"]


class ModelFile(BaseModel):
    """A file of a model on the hub, and its name in the folder that will load."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: _Path
    target: _Path
    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    blob: Annotated[str, Field(pattern=r"^([0-9a-f]{40})?$")] = ""


class HubModel(BaseModel):
    """A whole model on the hub as it lies there now: exactly what would be fetched, to be agreed to before it is.

    `name` will be its folder in `data/models`, `family` is what it is called by; `parts` are bytes in 16 bit by component; `other_bytes` is what it would weigh
    in the other precision, None where there is only one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: Annotated[str, Field(pattern=rf"^{_PART}/{_PART}$")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    title: Annotated[str, Field(max_length=120)]
    family: str
    licence: str = ""
    note: str = ""
    is_gated: bool = False
    precision: Precision = "half"
    other_bytes: int | None = None
    parts: dict[str, int] = {}
    files: Annotated[tuple[ModelFile, ...], Field(min_length=1, max_length=2000)]

    @property
    def id(self) -> str:
        """What to write to mean exactly this again."""
        return f"{self.repository}@{self.revision}"

    @property
    def size_bytes(self) -> int:
        return sum(one.size_bytes for one in self.files)

    @property
    def hub_files(self) -> tuple[HubFile, ...]:
        return tuple(HubFile(self.repository, self.revision, one.path, one.size_bytes, one.sha256, one.blob) for one in self.files)

    @property
    def renamed(self) -> dict[str, str]:
        """File names that change, by part: `diffusion_pytorch_model.fp16.safetensors` is loaded under its plain name."""
        return {one.path: PurePosixPath(one.target).name for one in self.files if one.path != one.target}


def parse_hub_name(text: str, field: str) -> HubName:
    """`owner/name`, `owner/name/file`, either with `@revision` behind the name; or the address of such a page on the hub.

    Raises `InvalidRequest` about the control `field`.
    """
    found = _NAME.fullmatch(_without_page(text.strip()))
    path = found["file"] if found else None
    if found is None or (path is not None and any(part in ("", ".", "..") for part in path.split("/"))):
        shown = text.strip()[:60]
        raise InvalidRequest(f"{shown!r} names nothing on the hub.", f"Write {HUB_EXAMPLE} or {HUB_EXAMPLE}/file.safetensors.", field)
    return HubName(found["repository"], path, found["revision"])


def _without_page(text: str) -> str:
    """An address as the browser shows it becomes a name; anything else stays as it is."""
    if (page := _PAGE.match(text)) is None:
        return text
    owner, _, rest = text[page.end() :].split("?")[0].rstrip("/").partition("/")
    name, _, place = rest.partition("/")
    kind, _, place = place.partition("/")
    revision, _, path = place.partition("/")
    if kind not in ("blob", "resolve", "tree") or not revision:
        return f"{owner}/{name}"
    return f"{owner}/{name}@{revision}" + (f"/{path}" if path and kind != "tree" else "")
