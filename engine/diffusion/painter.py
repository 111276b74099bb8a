"""What a host drives: keeps models resident within a budget and turns work into messages."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from math import ceil
from pathlib import Path

import torch

from engine.contract.errors import DamagedFile, OutOfMemory
from engine.contract.memory import Fit, Memory, MemoryChoice, Packing, Plan, Room, fit, lighter, on_changed_weights, went_on
from engine.contract.recipe import Recipe
from engine.contract.requests import SIZE_MIN
from engine.contract.work import BegunAnew, Frozen, HostMessage, Loads, Partial, Pixels, Sketch, Skipped, Stepped, TilePixels, Work
from engine.diffusion.adapters import AdapterShelf, Lora
from engine.diffusion.controlnet import ControlShelf, Overlay, Unit, control_name
from engine.diffusion.denoise import Step
from engine.diffusion.device import device_name, is_out_of_memory, pick_device, pick_dtype, pick_residency, pick_room, release_memory
from engine.diffusion.embeddings import load_embeddings
from engine.diffusion.freezing import FrozenWalk, freeze, thaw
from engine.diffusion.images import Rgb, read_mask, read_rgb, to_rgb
from engine.diffusion.images import fit as fit_picture
from engine.diffusion.latents import check_latents, decode
from engine.diffusion.loading import SCORER, Components, check_model, load_components
from engine.diffusion.masking import Repaint, plan_repaint, put_back
from engine.diffusion.modes.edit import edit
from engine.diffusion.modes.img2img import image_to_image
from engine.diffusion.modes.inpaint import inpaint
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.modes.upscale import Enlarging, TileDone, TileStep, upscale
from engine.diffusion.preview import picture_sketch
from engine.diffusion.reading import file_bytes
from engine.diffusion.references import Reference, ReferenceShelf
from engine.diffusion.seamless import seamless
from engine.diffusion.text import PromptCache, PromptEncoder
from engine.diffusion.upscalers import Upscaler, UpscalerShelf
from engine.diffusion.vaes import VaeShelf, vae_name
from engine.diffusion.voices import LearningVoice
from engine.weights.single_files import files_of
from engine.weights.stamps import stamps

log = logging.getLogger("easel.painter")
Messages = Generator[HostMessage, None, Rgb]


class Painter:
    """Models on one device, one at work. Runs change nothing in them, so stopping anywhere leaves them clean."""

    def __init__(
        self, *, device: str = "auto", dtype: str = "auto", previews: bool = True, memory: Memory | None = None, room: Room | None = None
    ) -> None:
        """`room` stands for the device's own memory where a test wants another one."""
        memory = memory or Memory()
        self._device = pick_device(device)
        self._dtype = pick_dtype(dtype, self._device)
        self._previews = previews
        self._room = room or pick_room(self._device, memory.gb)
        self._choice: MemoryChoice = memory.choice
        self._residency = pick_residency(self._room, self._room.bytes if room else memory.gb)
        # Models of which something is in memory, the one in use last.
        self._models: OrderedDict[Path, Components] = OrderedDict()
        self._said = PromptCache()
        self._shelf = AdapterShelf()
        self._references = ReferenceShelf()
        self._controls = ControlShelf()
        self._vaes = VaeShelf()
        self._upscalers = UpscalerShelf()
        self._picture: _Picture | None = None

    @property
    def device_name(self) -> str:
        return device_name(self._device)

    def load(self, folder: Path, plan: Plan | None = None, choice: MemoryChoice | None = None) -> tuple[Components, PromptEncoder]:
        """The model of this folder, what of it is in memory from there. `plan` is how it is laid in if it is not here yet.

        One that lies as another `choice` had it is laid in anew, and one whose files have changed is read anew.
        """
        choice = choice or self._choice
        if folder in self._models and not self._is_current(folder, choice):
            self._forget(self._models[folder])
        if folder not in self._models:
            # A damaged folder leaves the models that are here.
            found = self._fit(folder, choice)
            log.info("%s: %s, %s", folder.name, plan or found.plan, found.packing or "as trained")
            self._models[folder] = load_components(
                folder, device=self._device, dtype=self._dtype, residency=self._residency, plan=plan or found.plan, packing=found.packing
            )
            if (stay := self._models[folder].stay) is not None:
                stay.choice = choice
        self._models.move_to_end(folder)
        components = self._models[folder]
        for other in [one for one in self._models.values() if one is not components and one.stay is not None and one.stay.is_gone]:
            self._forget(other)
        return components, self._encoder(components)

    def _fit(self, folder: Path, choice: MemoryChoice) -> Fit:
        return fit(check_model(folder).sizes(self._dtype), self._room, choice)

    def _is_current(self, folder: Path, choice: MemoryChoice) -> bool:
        """Whether a model that is here is what its files say now, and lies as it would be laid in now."""
        if self._models[folder].read_from != stamps(files_of(folder)):
            return False
        stay = self._models[folder].stay
        if stay is None or stay.choice == choice:
            return True
        found = self._fit(folder, choice)
        if (found.plan, found.packing) != (stay.plan, stay.packing):
            return False
        stay.choice = choice
        return True

    def paint(self, work: Work, skipped: Callable[[], frozenset[int]] = frozenset) -> Generator[HostMessage, None, None]:
        """Draw each picture of the work in turn. One at a time gives each picture the bytes that it has alone.

        `skipped` is asked after each step: a picture in it is left as it is, and the next one begun. A device that runs
        out of memory is asked once more, under a plan that takes less and draws the same picture.
        """
        plan: Plan | None = None
        while True:
            drawn: set[int] = set()
            try:
                with closing(self._paint(work, skipped, plan)) as messages:
                    for message in messages:
                        if isinstance(message, Pixels):
                            drawn.add(message.picture)
                        yield message
                return
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                below = None if plan is not None else self._lighter(work)
                if below is None:
                    raise _out_of_memory(work.recipe) from error
                plan = below
            # Behind the `except`: what the frames of the error held is free here.
            self._residency.rest_all()
            release_memory(self._device)
            work = replace(work, skip=work.skip | drawn)
            yield BegunAnew(went_on(plan))

    def _paint(self, work: Work, skipped: Callable[[], frozenset[int]], plan: Plan | None) -> Generator[HostMessage, None, None]:
        choice = work.memory or self._choice
        known = self._models.get(work.model_folder)
        if known is None or not _is_warm(known) or not self._is_current(work.model_folder, choice):
            yield Loads(f"Loading {work.recipe.model}")
        # It may be laid in anew: nobody else is to hold what makes room.
        del known
        try:
            components, prompts = self.load(work.model_folder, plan, choice)
            if work.vae is not None and not self._vaes.has(components, work.vae):
                yield Loads(f"Loading the VAE {work.recipe.vae}")
            components = self._vaes.on(components, work.vae)
            # The edges of an enlargement's tiles are not the edges of the picture.
            axes = None if work.recipe.mode == "upscale" else work.recipe.seamless
            uses = work.recipe.loras or ()
            loras = tuple(Lora(path, use.weight, use.blocks) for use, path in zip(uses, work.loras, strict=True))
            voice = components.voice
            learned = load_embeddings(work.recipe, work.embeddings, voice.widths if isinstance(voice, LearningVoice) else ())
            overlay = yield from self._overlay(components, work)
            upscaler = self._upscalers.on(components, work.upscaler)
            nets = {id(unit.net): unit.net for unit in overlay.units}.values()
            with (
                self._laid_in(components, plan, work, overlay),
                self._shelf.applied(components, loras) as spoken,
                self._references.applied(components, _references(work)) as shown,
                seamless([components.network, components.vae, *nets], axes),
            ):
                # What an adapted text encoder says must not be remembered as the model's own words.
                prompts = self._encoder(components, spoken) if spoken else prompts
                heard = prompts.speaking_from(work.recipe.clip_skip)
                with heard, prompts.knowing(learned, work.recipe.embeddings or {}), prompts.showing(shown):
                    for index in range(work.recipe.count):
                        if index not in work.skip:
                            self._picture = _Picture(components, prompts, work, index, self._previews, overlay, upscaler)
                            yield from _unless(self._picture.draw(), index, skipped)
        finally:
            self._picture = None

    def _encoder(self, components: Components, adapters: tuple[Hashable, ...] = ()) -> PromptEncoder:
        return PromptEncoder(components, cache=self._said, encoder=_stamp(components), adapters=adapters)

    def _lighter(self, work: Work) -> Plan | None:
        """The plan below the one that a model has or would have."""
        folder, choice = work.model_folder, work.memory or self._choice
        now, known = self._fit(folder, choice), self._models.get(folder)
        plan = known.stay.plan if known is not None and known.stay is not None else now.plan
        return lighter(plan, check_model(folder).sizes(self._dtype, now.packing), self._room)

    @contextmanager
    def _laid_in(self, components: Components, plan: Plan | None, work: Work, overlay: Overlay) -> Generator[None]:
        """The model as its own plan has it, or for one work as `plan` has it, and what works beside it in this work."""
        stay = components.stay
        assert stay is not None
        was_streamed = stay.is_streamed
        beside = {
            components.family.network: [control_name(unit.path, unit.use.control_hash) for unit in overlay.units],
            "vae": [SCORER] if work.recipe.score_guidance is not None and components.scorer is not None else [],
        }
        instead = {} if work.vae is None else {"vae": vae_name(work.vae)}
        put_in = sum(file_bytes(path) for path in (*work.loras, *(adapter for adapter, _ in work.references)))
        try:
            with stay.under(plan or stay.plan), stay.beside(beside, instead=instead, put_in=put_in):
                yield
        finally:
            if stay.is_streamed and not was_streamed:
                # Its layers cannot be told to stay again; the next work reads it anew.
                self._forget(components)

    def _forget(self, components: Components) -> None:
        assert components.stay is not None
        self._models.pop(components.folder, None)
        self._residency.forget(components.stay.keys)
        self._controls.let_go(components)
        components.stay.drop()

    def freeze(self) -> Frozen | None:
        """What is being drawn, to go on from later; None after the last step of a picture, which is better finished.

        To be called between two messages of `paint`.
        """
        return Frozen(0, 0, None) if self._picture is None else self._picture.freeze()

    def keep(self) -> Partial | None:
        """What there is of the picture that is being drawn, as the model foresees it; None where nothing is to be seen yet.

        To be called between two messages of `paint`.
        """
        return None if self._picture is None else self._picture.keep()

    def _overlay(self, components: Components, work: Work) -> Generator[HostMessage, None, Overlay]:
        """The control units that change anything, loaded, each with its map as it was made."""
        units: list[Unit] = []
        for use in work.recipe.controls or ():
            if use.is_idle or use.control is None or use.map is None:
                continue
            path = work.controls[use.control]
            if not self._controls.has(components, path, use.control_hash):
                yield Loads(f"Loading the control {use.control}")
            units.append(Unit(self._controls.net(components, path, use.control_hash), use, read_rgb(work.inputs[use.map]), path))
        return Overlay(tuple(units))


def _unless(messages: Generator[HostMessage, None, None], index: int, skipped: Callable[[], frozenset[int]]) -> Generator[HostMessage, None, None]:
    """The messages of picture `index` until it is skipped."""
    with closing(messages):
        while index not in skipped():
            try:
                yield next(messages)
            except StopIteration:
                return
    yield Skipped(index)


class _Picture:
    """One picture of a work on its way to messages."""

    def __init__(
        self,
        components: Components,
        prompts: PromptEncoder,
        work: Work,
        index: int,
        previews: bool,
        overlay: Overlay,
        upscaler: Upscaler | None = None,
    ) -> None:
        self._components, self._prompts, self._work, self._index, self._previews = components, prompts, work, index, previews
        self._recipe = work.recipe.for_picture(index)
        self._overlay, self._upscaler = overlay, upscaler
        self._packing: Packing | None = None if components.stay is None else components.stay.weights
        self._at: Step | None = None
        # Seconds of the run that put it aside, and when this one began.
        self._before, self._since = 0.0, time.perf_counter()
        self._is_drawn = False
        # Where it was put aside.
        self._frozen: FrozenWalk | None = None
        # What a repainted part is put back into.
        self._plan: Repaint | None = None

    @property
    def _seconds(self) -> float:
        """How long this picture has been drawn, over all its runs."""
        return self._before + time.perf_counter() - self._since

    def draw(self) -> Generator[HostMessage, None, None]:
        yield from self._thaw()
        match self._recipe.mode:
            case "txt2img":
                control = self._overlay.over(self._recipe.width, self._recipe.height).control()
                rgb = yield from self._walk(text_to_image(self._components, self._prompts, self._recipe, control=control, frozen=self._frozen))
            case "img2img":
                source = fit_picture(self._source(), self._recipe.width, self._recipe.height, self._recipe.fit or "crop")
                control = self._overlay.over(self._recipe.width, self._recipe.height).control()
                rgb = yield from self._walk(
                    image_to_image(self._components, self._prompts, self._recipe, source, control=control, frozen=self._frozen)
                )
            case "edit":
                pictures = tuple(read_rgb(self._path(one, "source")) for one in self._recipe.inputs)
                rgb = yield from self._walk(edit(self._components, self._prompts, self._recipe, pictures, frozen=self._frozen))
            case "inpaint":
                rgb = yield from self._inpaint()
            case "upscale":
                rgb = yield from self._upscale()
        self._is_drawn = True
        yield Pixels(self._index, rgb.shape[1], rgb.shape[0], rgb.tobytes(), self._seconds, packing=self._packing)

    def keep(self) -> Partial | None:
        at = self._at
        if at is None or self._is_drawn:
            return None
        rgb = self._decoded(at.denoised)
        rgb = rgb if self._plan is None else put_back(self._plan, rgb)
        seconds = self._seconds
        return Partial(self._index, rgb.shape[1], rgb.shape[0], rgb.tobytes(), seconds, at.index + 1, packing=self._packing)

    def freeze(self) -> Frozen | None:
        at = self._at
        if at is None:
            return Frozen(self._index, 0, None)
        if at.index == at.total - 1:
            return None
        step = self._shown(at)
        return Frozen(
            self._index,
            step,
            freeze(at.walk, at.latents, picture=self._index, index=at.index, step=step, packing=self._packing, seconds=self._seconds),
        )

    def _thaw(self) -> Generator[HostMessage, None, None]:
        """Find where this picture was put aside. A file that cannot be read, or other weights by now, cost only drawing it again."""
        if self._work.frozen is None:
            return
        try:
            frozen = thaw(self._work.frozen, self._components.device)
        except DamagedFile as error:
            log.warning("begun anew: %s", error.message, extra={"job": self._work.job_id})
            return
        if frozen is None or frozen.picture != self._index:
            return
        if frozen.packing == self._packing:
            self._frozen, self._before = frozen, frozen.seconds
        else:
            yield BegunAnew(on_changed_weights(frozen.packing, self._packing))

    def _walk(self, steps: Iterator[Step]) -> Messages:
        latents = None
        for step in steps:
            check_latents(step.latents)
            self._at, latents = step, step.latents
            preview = self._components.preview.sketch(step.denoised[0]) if self._previews else None
            yield Stepped(self._index, self._shown(step), self._recipe.steps_run, preview)
            if step.index + 1 == self._recipe.stopped_after_calls:
                latents = step.denoised
                break
        assert latents is not None
        return self._decoded(latents)

    def _decoded(self, latents: torch.Tensor) -> Rgb:
        with torch.inference_mode():
            # A texture that tiles is decoded whole: its edges see each other.
            stay = self._components.stay
            spare = stay.spare if stay is not None and not self._recipe.seamless else None
            return to_rgb(decode(self._components, latents, spare_bytes=spare)[0])

    def _inpaint(self) -> Messages:
        recipe = self._recipe
        painted = None if recipe.mask is None else read_mask(self._path(recipe.mask, "mask"))
        self._plan = plan = plan_repaint(recipe, self._source(), painted, multiple=self._components.family.facts.multiple)
        # The map lies over the whole picture, the growth of its frame included.
        part, canvas = plan.part, plan.canvas
        control = self._overlay.over(canvas.shape[1], canvas.shape[0]).part(plan.box, part.shape[1], part.shape[0])
        drawn = yield from self._walk(inpaint(self._components, self._prompts, recipe, part, plan.part_mask, control=control, frozen=self._frozen))
        return put_back(plan, drawn)

    def _upscale(self) -> Messages:
        kept: dict[tuple[int, Packing | None], Path] = {
            (tile, packing): path for (picture, tile, packing), path in self._work.tiles.items() if picture == self._index
        }
        finished = {tile: path for (tile, packing), path in kept.items() if packing == self._packing}
        if kept and not finished:
            yield BegunAnew(on_changed_weights(next(iter(kept))[1], self._packing))
        run = upscale(
            self._components, self._prompts, self._recipe, self._source(), upscaler=self._upscaler, finished=finished, overlay=self._overlay
        )  # fmt: skip
        total = max(self._recipe.steps_run, 1)
        while True:
            try:
                event = next(run)
            except StopIteration as end:
                return end.value
            match event:
                case Enlarging(canvas=canvas):
                    yield Stepped(self._index, 0, total, self._picture_preview(canvas))
                case TileStep(tile=tile, tiles=tiles, step=step):
                    check_latents(step.latents)
                    yield Stepped(self._index, self._shown(step), total, None, tile, tiles)
                case TileDone(tile=tile, tiles=tiles, made=made, canvas=canvas, is_new=is_new):
                    if is_new:
                        yield TilePixels(self._index, tile, made.shape[1], made.shape[0], made.tobytes(), self._packing)
                    yield Stepped(self._index, total, total, self._picture_preview(canvas), tile, tiles)

    def _shown(self, step: Step) -> int:
        # Second-order samplers call the model more often than the person asked for steps.
        return ceil((step.index + 1) * self._recipe.steps_run / step.total)

    def _picture_preview(self, canvas: Rgb) -> Sketch | None:
        return picture_sketch(canvas) if self._previews else None

    def _source(self) -> Rgb:
        return read_rgb(self._path(self._recipe.source or "", "source"))

    def _path(self, digest: str, field: str) -> Path:
        path = self._work.inputs.get(digest)
        if path is None:
            raise DamagedFile("The source picture is not here any more.", "Choose it again.", field)
        return path


def _is_warm(components: Components) -> bool:
    return components.stay is None or components.stay.is_warm


def _stamp(components: Components) -> tuple[Hashable, ...]:
    """What words are read with: the model's files as they were read, and how its weights lie."""
    return (str(components.folder), components.stay.packing if components.stay is not None else None, components.read_from)


def _references(work: Work) -> tuple[Reference, ...]:
    uses = work.recipe.references or ()
    return tuple(Reference(use, work.inputs[use.image], adapter, encoder) for use, (adapter, encoder) in zip(uses, work.references, strict=True))


def _out_of_memory(recipe: Recipe) -> OutOfMemory:
    width, height = (max(SIZE_MIN, side * 3 // 4 // 64 * 64) for side in (recipe.width, recipe.height))
    if (width, height) == (recipe.width, recipe.height):
        hint = "Use fewer LoRAs and control units, or end what else uses this device."
    else:
        hint = f"Try {width} × {height}."
    return OutOfMemory(f"There is not enough memory for {recipe.width} × {recipe.height}.", hint, "width")
