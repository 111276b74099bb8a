"""From what a person asked for to a recipe: whatever a request names is looked up, checked and pinned by its hash."""

from __future__ import annotations

from collections.abc import Iterable

from engine.contract.adapters import LoraUse
from engine.contract.errors import InvalidRequest
from engine.contract.models import ModelCard
from engine.contract.recipe import Recipe, resolve
from engine.contract.references import without_nothing
from engine.contract.requests import Request
from engine.contract.results import InputImage
from engine.controls import ControlDesk
from engine.library.default_model import DefaultModel
from engine.library.inputs import Inputs
from engine.library.shelves import Shelves
from engine.library.uploads import PIXELS_MAX


class Resolver:
    """Knows every shelf that a request may name something from. Reads files and tables; changes nothing."""

    def __init__(self, *, default_model: DefaultModel, shelves: Shelves, inputs: Inputs, controls: ControlDesk) -> None:
        self._default_model = default_model
        self._shelves = shelves
        self._inputs = inputs
        self._controls = controls

    def recipe(self, request: Request, owner: str, *, is_draft: bool = False) -> Recipe:
        """Raises `ModelNotFound`, `NotFound`, `IncompatibleAdapter`, or `InvalidRequest` that names the control at fault.

        A draft cannot be drawn: its control units have no maps yet. It says how long the job will take.
        """
        models, name = self._shelves.models, request.model or self._default_model.name
        # Read once: looking through a model's folder takes longer than all else here.
        card = models.card(name) if is_draft else models.pinned(name)
        return self._with_embeddings(self._without_embeddings(request, card, owner, is_draft=is_draft), card)

    def check_mask(self, source: InputImage, mask: str | None, owner: str) -> None:
        """Raises `NotFound`, or `InvalidRequest` when the mask has another size than the source."""
        if mask is None:
            return
        known = self._inputs.get(mask, owner, field="mask")
        if (known.width, known.height) != (source.width, source.height):
            message = f"The mask is {known.width} × {known.height} and the source {source.width} × {source.height}."
            raise InvalidRequest(message, "Use a mask of the same size.", "mask")

    def _without_embeddings(self, request: Request, card: ModelCard, owner: str, *, is_draft: bool) -> Recipe:
        for use in request.references:
            self._inputs.get(use.image, owner, field="references")
        references = self._shelves.ip_adapters.resolve(without_nothing(request.references), card, self._shelves.models.folder(card.name))
        vae = self._shelves.vaes.resolve(request.vae, card)
        upscaler, sizes = None, list[tuple[int, int]]()
        if request.mode != "txt2img":
            source = self._inputs.get(request.source, owner, field="source")
            if request.mode == "upscale":
                chosen = self._shelves.upscalers.card(request.upscaler)
                upscaler = (chosen.name, chosen.content_hash)
                _check_large(source.width * request.factor * source.height * request.factor, "factor")
            elif request.mode == "edit":
                shown = [source, *(self._inputs.get(one, owner, field="pictures") for one in request.pictures)]
                sizes = [(one.width, one.height) for one in shown]
            elif request.mode == "inpaint":
                self.check_mask(source, request.mask, owner)
                width = source.width + request.expand_left + request.expand_right
                _check_large(width * (source.height + request.expand_top + request.expand_bottom), "expand_left")
        # Last, because making a map takes a while: everything else has been judged by now.
        controls = self._controls.resolve(request.controls, card, owner, makes_maps=not is_draft)

        def find_loras(uses: Iterable[LoraUse]) -> tuple[LoraUse, ...]:
            return self._shelves.loras.resolve(tuple(uses), card)

        return resolve(
            request,
            card,
            upscaler=upscaler,
            vae=vae,
            find_loras=find_loras,
            controls=controls,
            references=references,
            sizes=sizes,
            lists=self._shelves.wildcards.lines,
        )

    def _with_embeddings(self, recipe: Recipe, card: ModelCard) -> Recipe:
        """Raises `IncompatibleAdapter` for one that does not fit, `InvalidRequest` for a name that may mean two."""
        hashes = self._shelves.embeddings.resolve(recipe.texts(), card)
        return recipe.with_embeddings(hashes) if hashes else recipe


def _check_large(pixels: int, field: str) -> None:
    if pixels > PIXELS_MAX:
        message = f"The result would have {pixels / 1e6:.0f} megapixels."
        raise InvalidRequest(message, f"Keep it under {PIXELS_MAX // 1_000_000}: choose a smaller source or a smaller growth.", field)
