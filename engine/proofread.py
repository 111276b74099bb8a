"""Words read while they are written: what Generate would refuse, in its own sentence, and what reads differently from how it looks."""

from __future__ import annotations

from engine.contract.errors import EngineError
from engine.contract.families import FAMILIES
from engine.contract.models import ModelCard
from engine.contract.remarks import Remark, remarks_on
from engine.contract.requests import parse_request
from engine.contract.words import parse_weights
from engine.library.embeddings import Embeddings
from engine.resolver import Resolver


def proofread(text: str, control: str, *, model: ModelCard, resolver: Resolver, embeddings: Embeddings) -> tuple[Remark, ...]:
    """The gravest first. `control` is "prompt" or "negative_prompt". An empty field is no mistake yet."""
    if not text.strip():
        return ()
    refused: list[Remark] = []
    try:
        words = {"prompt": text} if control == "prompt" else {"prompt": "x", "negative_prompt": text}
        resolver.recipe(parse_request({**words, "seed": 0, "model": model.name}), "", is_draft=True)
    except EngineError as error:
        refused = [Remark(f"{error.message} {error.hint}".strip(), is_refusal=True)]
    names = [card.name for card in embeddings.cards()]
    # What is far too long is refused as such, and not read to its end.
    if len(text) > 100_000:
        return tuple(refused)
    return (*refused, *_unweighed(text, model), *remarks_on(text, names, control))


def _unweighed(text: str, model: ModelCard) -> tuple[Remark, ...]:
    """What a model that reads sentences makes of weights; nothing where the words have none, or it can weigh them."""
    reason = FAMILIES[model.family].lacks.get("weights") if model.family in FAMILIES else None
    pieces = [piece for passage in parse_weights(text) for piece in passage]
    return (Remark(f"{model.title} {reason}."),) if reason and any(piece.weight != 1 for piece in pieces) else ()
