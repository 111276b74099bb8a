"""Words read while they are written: what Generate would refuse, in its own sentence, and what reads differently from how it looks."""

from __future__ import annotations

from engine.contract.errors import EngineError
from engine.contract.remarks import Remark, remarks_on
from engine.contract.requests import parse_request
from engine.library.embeddings import Embeddings
from engine.resolver import Resolver


def proofread(text: str, control: str, *, model: str | None, resolver: Resolver, embeddings: Embeddings) -> tuple[Remark, ...]:
    """The gravest first. `control` is "prompt" or "negative_prompt". An empty field is no mistake yet."""
    if not text.strip():
        return ()
    refused: list[Remark] = []
    try:
        words = {"prompt": text} if control == "prompt" else {"prompt": "x", "negative_prompt": text}
        resolver.recipe(parse_request({**words, "seed": 0, "model": model}), "")
    except EngineError as error:
        refused = [Remark(f"{error.message} {error.hint}".strip(), is_refusal=True)]
    names = [card.name for card in embeddings.cards()]
    # What is far too long is refused as such, and not read to its end.
    return tuple(refused) if len(text) > 100_000 else (*refused, *remarks_on(text, names, control))
