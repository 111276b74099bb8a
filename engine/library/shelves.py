"""Every shelf of files that a request may name something from: what is bundled, and what was put into the data folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.library.catalogue import BUNDLED, Catalogue
from engine.library.controlnets import BUNDLED_CONTROLS, ControlNets
from engine.library.digests import Digests
from engine.library.embeddings import BUNDLED_EMBEDDINGS, Embeddings
from engine.library.ip_adapters import BUNDLED_IP_ADAPTERS, IpAdapters
from engine.library.loras import BUNDLED_LORAS, Loras
from engine.library.styles import BUNDLED_STYLES, Styles
from engine.library.upscalers import BUNDLED_UPSCALERS, Upscalers
from engine.library.vaes import Vaes
from engine.library.wildcards import BUNDLED_WILDCARDS, Wildcards


@dataclass(frozen=True)
class Shelves:
    """What lies here is found without a restart; reading a shelf changes nothing."""

    models: Catalogue
    upscalers: Upscalers
    vaes: Vaes
    loras: Loras
    embeddings: Embeddings
    controlnets: ControlNets
    ip_adapters: IpAdapters
    wildcards: Wildcards
    styles: Styles

    @staticmethod
    def of(data: Path) -> Shelves:
        """The shelves of a data folder. Where two hold the same name, a shelf itself decides which one counts."""
        return Shelves(
            models=Catalogue((BUNDLED, data / "models"), Digests(data / "digests.json")),
            upscalers=Upscalers((BUNDLED_UPSCALERS, data / "upscalers")),
            vaes=Vaes((data / "vaes",)),
            loras=Loras((BUNDLED_LORAS, data / "loras")),
            embeddings=Embeddings((data / "embeddings", BUNDLED_EMBEDDINGS)),
            controlnets=ControlNets((BUNDLED_CONTROLS, data / "controlnets")),
            ip_adapters=IpAdapters((BUNDLED_IP_ADAPTERS, data / "ip_adapters"), (data / "image_encoders",)),
            wildcards=Wildcards((data / "wildcards", BUNDLED_WILDCARDS)),
            styles=Styles((BUNDLED_STYLES, data / "styles")),
        )
