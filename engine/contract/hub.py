"""Files on the Hugging Face hub: pinned, weighed and licensed before a byte of them is fetched."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from engine.contract.errors import InvalidRequest

HUB_EXAMPLE = "owner/name"
_PAGE = re.compile(r"^https?://(?:www\.)?(?:huggingface\.co|hf\.co)/", re.IGNORECASE)
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_NAME = re.compile(rf"(?P<repository>{_PART}/{_PART})(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._-]{{0,99}}))?(?:/(?P<file>[^\x00-\x1f\\?#]{{1,300}}))?")


@dataclass(frozen=True)
class HubFile:
    """One file of a repository at one commit. `sha256` is empty where the hub does not say it."""

    repository: str
    revision: str
    path: str
    size_bytes: int
    sha256: str = ""


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
