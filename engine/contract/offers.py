"""Models that could be here: what the catalogue says about each before anything is downloaded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from engine.contract.families import FAMILIES
from engine.contract.memory import Room, fit

_Gigabytes = Annotated[float, Field(gt=0, lt=200, allow_inf_nan=False)]
Unverified = Literal["revision", "licence", "disk_gb", "parts_gb"]


class ModelOffer(BaseModel):
    """A row of `presets/models.json`. Gigabytes are 10⁹ bytes; `parts_gb` are those of each component in 16 bit.

    `revision` None: no commit of the author's that holds the weights has been seen, neither in a page of the hub nor in what several strangers load.
    `unverified` names what was not read in a page of the hub. `is_first`: of its size, the one to begin with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hub: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,96}/[A-Za-z0-9._-]{1,96}$")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None
    title: Annotated[str, Field(min_length=1, max_length=60)]
    family: str
    licence: Annotated[str, Field(min_length=2)]
    licence_link: Annotated[str, Field(pattern=r"^https://")]
    card: Annotated[str, Field(pattern=r"^https://huggingface\.co/")]
    disk_gb: _Gigabytes
    parts_gb: Annotated[dict[str, _Gigabytes], Field(min_length=2)]
    good_at: Annotated[str, Field(min_length=10, max_length=120)]
    unverified: tuple[Unverified, ...] = ()
    is_first: bool = False

    @property
    def name(self) -> str:
        """Its folder in `data/models`."""
        return self.hub.rpartition("/")[2]

    @property
    def parts(self) -> dict[str, int]:
        """Bytes by component."""
        return {part: int(size * 1e9) for part, size in self.parts_gb.items()}

    @property
    def id(self) -> str:
        """What to write to mean it on the hub: pinned, where a commit is known."""
        return f"{self.hub}@{self.revision}" if self.revision else self.hub

    @property
    def command(self) -> str:
        """What brings it here from a terminal."""
        return f"python -m engine models download {self.id}"


def suggest(offers: Iterable[ModelOffer], room: Room) -> ModelOffer | None:
    """The best of the models to begin with that lies whole on a graphics card; None on a computer without one, where the starter is quicker."""
    fitting = [one for one in offers if one.is_first and one.family in FAMILIES and not room.is_host and fit(one.parts, room).plan == "whole"]
    return max(fitting, key=lambda one: sum(one.parts.values()), default=None)
