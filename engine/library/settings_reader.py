"""A picture file to the settings that it carries, and a list of what of them is not on this machine."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from engine.contract.adapters import LoraUse, take_tags
from engine.contract.errors import DamagedFile, InvalidRequest, NotFound
from engine.contract.models import ModelCard
from engine.contract.read_settings import Missing, MissingKind, ReadSettings
from engine.contract.recipe import Recipe
from engine.library.a1111 import Parameters, parse_parameters
from engine.library.carriers import read_texts
from engine.library.inputs import Inputs
from engine.library.shelves import Shelves
from engine.library.uploads import BYTES_MAX

_WHERE: dict[MissingKind, str] = {
    "model": "Put it into data/models, or choose another one.",
    "lora": "Put its file into data/loras, or go on without it.",
    "embedding": "Put its file into data/embeddings, or take its word out of the prompt.",
    "upscaler": "Put its file into data/upscalers, or choose another one.",
    "vae": "Put its file into data/vaes, or go on with the model's own.",
    "control": "Put its file into data/controlnets, or choose another one.",
    "adapter": "Put its file into data/ip_adapters, or choose another one.",
    "source": "Choose the source picture again.",
    "mask": "Paint the mask again.",
    "picture": "Choose this picture again.",
}
_FIELDS: dict[MissingKind, str] = {"lora": "loras", "embedding": "prompt", "picture": "source", "control": "controls", "adapter": "references"}

_NAMES: dict[MissingKind, str] = {"lora": "LoRA", "control": "control model", "vae": "VAE", "adapter": "reference adapter"}


@dataclass(frozen=True)
class SettingsReader:
    """Knows every shelf that a recipe may name something from. Changes nothing."""

    shelves: Shelves
    inputs: Inputs

    def read(self, data: bytes, owner: str) -> ReadSettings:
        """Our recipe where the file has one, else AUTOMATIC1111's text. Raises `DamagedFile` where it has neither."""
        if len(data) > BYTES_MAX:
            raise InvalidRequest("This file is too large.", f"Choose one of at most {BYTES_MAX // 1024**2} MB.", "file")
        texts = read_texts(io.BytesIO(data))
        if texts.recipe is not None:
            return self._of_recipe(Recipe.from_json(texts.recipe), owner)
        parameters = None if texts.parameters is None else parse_parameters(texts.parameters)
        if parameters is None:
            raise DamagedFile("This picture carries no settings.", "They were removed, or it was never drawn by a program.", "file")
        return self._of_parameters(parameters)

    def _of_recipe(self, recipe: Recipe, owner: str) -> ReadSettings:
        values: dict[str, Any] = recipe.to_request().model_dump(mode="json", exclude_none=True)
        model, missing = self._model(recipe.model, recipe.model_hash)
        values = {**values, "model": model.name} if model else {name: value for name, value in values.items() if name != "model"}
        here = {card.name: card.content_hash for card in self.shelves.loras.cards()}
        missing += list(_compared("lora", {use.name: use.hash for use in recipe.loras or ()}, here))
        here = {card.name: card.content_hash for card in self.shelves.embeddings.cards()}
        missing += list(_compared("embedding", recipe.embeddings or {}, here))
        here = {card.name: card.content_hash for card in self.shelves.controlnets.cards()} if recipe.controls else {}
        missing += list(_compared("control", {use.control: use.control_hash for use in recipe.controls or () if use.control is not None}, here))
        here = {card.name: card.content_hash for card in self.shelves.ip_adapters.cards()} if recipe.references else {}
        missing += list(_compared("adapter", {use.adapter: use.hash for use in recipe.references or () if use.adapter is not None}, here))
        if recipe.upscaler is not None:
            here = {card.name: card.content_hash for card in self.shelves.upscalers.cards()}
            missing += list(_compared("upscaler", {recipe.upscaler: recipe.upscaler_hash}, here))
        if recipe.vae_hash is not None:
            values, more = self._vae(values, recipe.vae, recipe.vae_hash)
            missing += more
        # The pictures that people brought; maps are made again from theirs.
        guides = [*(recipe.pictures or ()), *(use.image for use in (*(recipe.controls or ()), *(recipe.references or ())))]
        gone = [one for one in dict.fromkeys((recipe.source, recipe.mask, *guides)) if one is not None and not self._is_here(one, owner)]
        missing += [_absent(_role(recipe, digest), digest) for digest in gone]
        values = _without(values, {*gone, *(one.name for one in missing if one.kind == "upscaler" and one.state == "absent")})
        absent = {one.name for one in missing if one.kind == "lora" and one.state == "absent"}
        if "loras" in values:
            values["loras"] = [use for use in values["loras"] if use["name"] not in absent]
        return ReadSettings(source="easel", values=values, missing=tuple(missing), recipe=recipe)

    def _of_parameters(self, found: Parameters) -> ReadSettings:
        values, missing = dict(found.values), list[Missing]()
        if found.model is not None or found.model_hash is not None:
            model, missing = self._model(found.model, found.model_hash)
            values |= {"model": model.name} if model else {}
        here = {card.name: card.content_hash for card in self.shelves.loras.cards()}
        named = [use["name"] for use in values.get("loras", [])]
        # Its hashes leave the headers of files out, so only names can be compared.
        missing += _compared("lora", dict.fromkeys([*named, *(use.name for use in _tags(values["prompt"]))]), here)
        if "loras" in values:
            values["loras"] = [use for use in values["loras"] if use["name"] in here]
        here = {card.name: card.content_hash for card in self.shelves.embeddings.cards()}
        missing += _compared("embedding", dict.fromkeys(found.embeddings), here)
        if found.upscaler is not None:
            known = {card.name: card.content_hash for card in self.shelves.upscalers.cards()}
            missing += _compared("upscaler", {found.upscaler: None}, known)
            values |= {"upscaler": found.upscaler} if found.upscaler in known else {}
        if found.vae is not None:
            values, more = self._vae({**values, "vae": found.vae.removesuffix(".safetensors")}, found.vae.removesuffix(".safetensors"), None)
            missing += more
        if values.get("mode") is not None:
            missing.append(_absent("source", "source"))
        if values.get("mode") == "inpaint":
            missing.append(_absent("mask", "mask"))
        return ReadSettings(source="a1111", values=values, missing=tuple(missing), unread=found.unread)

    def _vae(self, values: dict[str, Any], name: str | None, digest: str | None) -> tuple[dict[str, Any], list[Missing]]:
        """The values without a VAE that is not here, with a word about it."""
        here = {card.name: card.content_hash for card in self.shelves.vaes.cards()}
        missing = list(_compared("vae", {name or "": digest}, here))
        return (values if name in here else {key: value for key, value in values.items() if key != "vae"}), missing

    def _model(self, name: str | None, digest: str | None) -> tuple[ModelCard | None, list[Missing]]:
        """The model of that content, whatever its name; else the one of that name, with a word about it; else None."""
        cards = self.shelves.models.cards()
        if digest and (same := next((card for card in cards if card.content_hash.startswith(digest.lower())), None)):
            return same, []
        # Other programs leave the ending of a file out.
        said = name.lower() if name is not None else None
        card = next((card for card in cards if said in (card.name.lower(), card.name.lower().removesuffix(".safetensors"))), None)
        if card is None:
            return None, [_absent("model", name or digest or "")]
        return card, [_changed("model", card.name)] if digest else []

    def _is_here(self, digest: str, owner: str) -> bool:
        try:
            self.inputs.get(digest, owner, field="source")
        except NotFound:
            return False
        return True


def _compared(kind: MissingKind, wanted: dict[str, str | None] | dict[str, str], here: dict[str, str]) -> Iterator[Missing]:
    for name, digest in wanted.items():
        if name not in here:
            yield _absent(kind, name)
        elif digest is not None and not here[name].startswith(digest.lower()):
            yield _changed(kind, name)


def _absent(kind: MissingKind, name: str) -> Missing:
    called = "" if kind in ("source", "mask", "picture") else f" {name[:64]}"
    what = {**_NAMES, "source": "source picture"}.get(kind, kind)
    return Missing(kind=kind, name=name, state="absent", message=f"The {what}{called} is not here. {_WHERE[kind]}", field=_FIELDS.get(kind, kind))


def _changed(kind: MissingKind, name: str) -> Missing:
    what = _NAMES.get(kind, kind)
    message = f"The {what} {name[:64]} is here with other content: the picture will come out a little different."
    return Missing(kind=kind, name=name, state="changed", message=message, field=_FIELDS.get(kind, kind))


def _role(recipe: Recipe, digest: str) -> MissingKind:
    if digest == recipe.source:
        return "source"
    return "mask" if digest == recipe.mask else "picture"


def _tags(prompt: str) -> Iterable[LoraUse]:
    try:
        return take_tags(prompt)[1]
    except InvalidRequest:
        # Said when Generate is pressed, about the place in the prompt.
        return ()


def _without(values: dict[str, Any], gone: set[str]) -> dict[str, Any]:
    """The values without absent pictures; an entry of a list that needs one goes whole."""
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, (list, tuple)):
            kept[name] = [one for one in value if not gone & set(_strings(one))]
        elif not (isinstance(value, str) and name in ("source", "mask", "upscaler") and value in gone):
            kept[name] = value
    return kept


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _strings(one)
