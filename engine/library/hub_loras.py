"""LoRA files from the hub: shown with commit, size and licence, fetched once they are agreed to, judged like any file that is brought."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.contract.adapters import LoraCard
from engine.contract.errors import DamagedFile, IncompatibleAdapter, InvalidRequest
from engine.contract.hub import HubOffer, parse_hub_name
from engine.library.adapter_uploads import BYTES_MAX, judged, plain_name
from engine.library.hub import Hub, Report

FIELD = "loras"
# Names that trainers give to every file: the repository tells them apart.
_NAMELESS = re.compile(r"(pytorch_lora_weights|adapter_model|diffusion_pytorch_model|model|lora|last|final)[._-]*", re.IGNORECASE)


class HubLoras:
    """Brings adapters into `folder`. What is under way lies in `folder/.hub`, where no shelf looks."""

    def __init__(self, folder: Path, hub: Hub | None = None) -> None:
        self._folder = folder
        self._hub = hub or Hub()

    def offers(self, text: str) -> tuple[HubOffer, ...]:
        """What a hub id may mean. Raises `InvalidRequest`, `NotFound` or `EngineError` about the control "loras"."""
        return self._hub.offers(parse_hub_name(text, FIELD), FIELD)

    def fetch(self, offer: HubOffer, judge: Callable[[Path], LoraCard], report: Report | None = None) -> Path:
        """The file in its place, with a note of where it came from beside it. One that is refused was never there.

        Raises what `Hub.fetch` raises, `InvalidRequest` for one that is too large, `DamagedFile` or `IncompatibleAdapter`.
        """
        if offer.size_bytes > BYTES_MAX:
            message = f"{offer.path} has {offer.size_bytes / 1e9:.1f} GB."
            raise InvalidRequest(message, f"A LoRA has at most {BYTES_MAX // 1024**3} GB here: is this a whole model?", FIELD)
        name = shelf_name(offer)
        aside = self._folder / ".hub" / hashlib.sha256(offer.id.encode()).hexdigest()[:16]
        self._hub.fetch([offer.file], aside, what=name, field=FIELD, report=report)
        path = (aside / offer.path).rename(aside / f"{name}.safetensors")
        try:
            card = judged(path, name, judge)
            note = {"source": offer.id, "licence": offer.licence, "trigger": offer.trigger, "sha256": card.content_hash}
            _note_beside(self._folder / path.name).write_text(json.dumps(note, indent=1), encoding="utf-8")
            return path.rename(self._folder / path.name)
        except (DamagedFile, IncompatibleAdapter):
            path.unlink()
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def shelf_name(offer: HubOffer) -> str:
    """The name on its card: the file's, or the repository's where the file's is everybody's. Raises `InvalidRequest`."""
    stem = Path(offer.path).stem
    return plain_name(f"{offer.repository.split('/')[1] if _NAMELESS.fullmatch(stem) else stem}.safetensors")


def origin(path: Path, content_hash: str) -> dict[str, str]:
    """What was noted about an adapter when it was fetched: `licence`, `trigger`, `source`. Empty for one that was not, or is another now."""
    try:
        found: Any = json.loads(_note_beside(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or found.get("sha256") != content_hash:
        return {}
    return {name: str(found[name])[:160] for name in ("licence", "trigger", "source") if found.get(name)}


def _note_beside(path: Path) -> Path:
    return path.with_suffix(".hub.json")
