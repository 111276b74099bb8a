"""The engine behind the door: submit, watch, cancel, bring pictures, sheets, history, models, close."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from PIL import Image

from engine.contract.adapters import LoraCard
from engine.contract.advice import advise
from engine.contract.chunks import Counted
from engine.contract.embeddings import EmbeddingCard
from engine.contract.errors import Busy, EngineError, InvalidRequest, ModelNotFound, NotFound
from engine.contract.estimate import Estimate
from engine.contract.hub import HubOffer
from engine.contract.memory import on_other_weights
from engine.contract.models import ModelCard
from engine.contract.offers import ModelOffer, suggest
from engine.contract.quality import Quality, qualities
from engine.contract.read_settings import ReadSettings
from engine.contract.recipe import Recipe
from engine.contract.references import ReferenceAdapterCard
from engine.contract.remarks import Remark
from engine.contract.requests import SEED_MAX, Request
from engine.contract.results import Brought, DeviceCode, InputImage, Job, Picture, TrayCounts, UpscalerCard
from engine.contract.schedulers import ScheduleName, SchedulerName
from engine.contract.settings import Settings
from engine.contract.strokes import Stroke
from engine.contract.styles import Style
from engine.contract.vaes import VaeCard
from engine.controls import ControlDesk
from engine.downloads import Downloads
from engine.jobs.dispatcher import Dispatcher
from engine.jobs.estimates import Estimates
from engine.jobs.hosts.base import Host
from engine.jobs.hosts.inline import InlineHost
from engine.jobs.hosts.maps import InlineMaps, ProcessMaps
from engine.jobs.hosts.process import ProcessHost
from engine.jobs.journal import Journal
from engine.jobs.watch import Watch
from engine.library.archive import read_sources
from engine.library.carriers import PictureFormat, converted
from engine.library.codes import Codes, adopt
from engine.library.counts import Counts, count
from engine.library.default_model import DefaultModel
from engine.library.history import History
from engine.library.hub_loras import HubLoras
from engine.library.hub_models import HubModels
from engine.library.inputs import Inputs
from engine.library.maps import Maps
from engine.library.masks import rasterise
from engine.library.noise_plan import noise_plan
from engine.library.offers import read_offers
from engine.library.passwords import People
from engine.library.preprocessors import Preprocessors
from engine.library.settings_reader import SettingsReader
from engine.library.sheets import Sheets
from engine.library.shelves import Shelves
from engine.library.thumbnails import small_picture
from engine.library.uploads import read_mask_upload, read_upload
from engine.library.vocabulary import count_words
from engine.limits import Limits
from engine.memory import MemoryDesk
from engine.proofread import proofread
from engine.resolver import Resolver
from engine.sheets import SheetDesk
from engine.store import open_store

log = logging.getLogger("easel.engine")


@dataclass(frozen=True)
class Health:
    """Whether pictures can be drawn, in plain values."""

    is_ready: bool
    worker: str
    queued: int
    model: str


class Engine:
    """One studio. Making it is quick and imports no torch; `start` sets the worker going behind the page.

    Four matters have a desk of their own: `sheets` (many jobs at once), `controls` (control models and maps), `downloads`
    (models on their way here) and `memory` (how models are laid in).
    """

    def __init__(self, settings: Settings, *, host: Host | None = None) -> None:
        self.settings = settings
        self._store = open_store(settings.data, settings.database_url)
        self.secret = _secret(settings)
        self.people = None if settings.auth_file is None else People(settings.auth_file)
        self._journal = Journal(self._store)
        self._history = History(self._store, settings.data)
        self._inputs = Inputs(self._store, settings.data / "inputs")
        self._limits = Limits(settings, self._journal, self._history, self._inputs)
        self._codes = Codes(self._store, self.secret)
        self._shelves = Shelves.of(settings.data)
        self._hub_loras = HubLoras(settings.data / "loras")
        self.downloads = Downloads(HubModels(settings.data / "models"))
        self.controls = ControlDesk(
            shelf=self._shelves.controlnets, preprocessors=Preprocessors(settings.data / "preprocessors"), maps=Maps(self._store), inputs=self._inputs,
            host=(ProcessMaps if settings.worker == "process" else InlineMaps)(device=settings.devices[0]), check_room=self._limits.check_input,
        )  # fmt: skip
        self._default_model = DefaultModel(settings, self._shelves.models)
        self._resolver = Resolver(default_model=self._default_model, shelves=self._shelves, inputs=self._inputs, controls=self.controls)
        self._settings_reader = SettingsReader(self._shelves, self._inputs)
        self.memory = MemoryDesk(settings)
        self._hosts = (host,) if host else _hosts(settings, self.memory)
        self._dispatcher = Dispatcher(
            hosts=self._hosts,
            journal=self._journal,
            history=self._history,
            estimates=Estimates(self._store),
            shelves=self._shelves,
            inputs=self._inputs,
            data=settings.data,
            memory=self.memory,
        )
        self.sheets = SheetDesk(
            sheets=Sheets(self._store), resolver=self._resolver, journal=self._journal, history=self._history, models=self._shelves.models,
            accept=self._accept,
        )  # fmt: skip

    def start(self) -> None:
        """Start the workers on the default model and take up what the journal holds."""
        for host in self._hosts:
            host.start(self._shelves.models.folder(self.default_model))
        self._dispatcher.start()

    # Jobs

    def submit(self, request: Request, owner: str) -> Job:
        """Resolve and journal; only then is the job accepted. Raises `ModelNotFound`, `NotFound`, `InvalidRequest` or `Busy`."""
        return self._accept(self._resolver.recipe(request, owner), owner)

    def duplicate(self, job_id: str, owner: str, *, new_seed: bool = False) -> Job:
        """A new job with the recipe of another, to the byte or with a seed of its own. Raises `NotFound` or `Busy`.

        With the same seed, an enlargement that was stopped goes on from its tiles.
        """
        recipe = self._journal.get(job_id, owner).recipe
        return self._accept(recipe.model_copy(update={"seed": secrets.randbelow(SEED_MAX + 1)}) if new_seed else recipe, owner)

    def retry(self, job_id: str, owner: str) -> Job:
        """A job that failed or was stopped, tried again under its own id; finished pictures stay. Raises `NotFound` or `InvalidRequest`."""
        self._journal.get(job_id, owner)
        job = self._dispatcher.retry(job_id)
        if job is None:
            raise InvalidRequest("This job has not failed and was not stopped.", "Duplicate it to draw it once more.", "job")
        return job

    def job(self, job_id: str, owner: str) -> Job:
        """Raises `NotFound`, also when it is somebody else's."""
        return self._journal.get(job_id, owner)

    def pictures_of(self, job_id: str, owner: str) -> list[Picture]:
        """What a job has drawn so far, in the order of the batch. Raises `NotFound`."""
        self._journal.get(job_id, owner)
        return self._history.of_job(job_id)

    def failures(self, owner: str, limit: int = 3) -> list[Job]:
        """The owner's newest failed jobs, until they are put away or tried again."""
        return self._journal.failures(owner, limit)

    def put_away(self, job_id: str, owner: str) -> bool:
        """Show this failure no more; False when it is none, or not theirs."""
        return self._journal.put_away(job_id, owner)

    def watch(self, job_id: str, *, owner: str, sees_previews: bool = True) -> Watch:
        """Events from now on, the newest one first; the ending if the job is over. Raises `NotFound`.

        Who does not look at previews says so: they are made for nobody.
        """
        self._journal.get(job_id, owner)
        return self._dispatcher.watch(job_id, sees_previews=sees_previews)

    def cancel(self, job_id: str, *, owner: str, keep: bool = False) -> bool:
        """Stop the owner's job within one step; False when it is over or not theirs.

        With `keep` the picture that is under way is kept as far as it had come, where there is something to be seen of it.
        """
        return self._is_theirs(job_id, owner) and self._dispatcher.cancel(job_id, keep=keep)

    def pause(self, job_id: str, owner: str) -> bool:
        """Put the owner's job aside within one step, so that others can use the device; False when it is over or not theirs."""
        return self._is_theirs(job_id, owner) and self._dispatcher.pause(job_id)

    def resume(self, job_id: str, owner: str) -> bool:
        """A paused job goes on bit for bit where it was, when it is its turn; False when it is not paused or not theirs."""
        return self._is_theirs(job_id, owner) and self._dispatcher.resume(job_id)

    def skip(self, job_id: str, picture: int, owner: str) -> bool:
        """Leave out picture `picture` (from 0) of a batch; False when it is drawn already, or the job is over or not theirs."""
        if not self._is_theirs(job_id, owner) or not 0 <= picture < self._journal.get(job_id).recipe.count:
            return False
        return self._dispatcher.skip(job_id, picture)

    def move(self, job_id: str, *, before: str | None, owner: str) -> None:
        """Put a waiting job in front of another one of the same owner; without one, last. Raises `NotFound` or `InvalidRequest`."""
        self._dispatcher.move(job_id, owner, before=before)

    def jobs(self, owner: str) -> list[Job]:
        """The owner's jobs that are not over, in their order: waiting, running and paused."""
        return self._journal.open_jobs(owner)

    def estimate(self, request: Request, owner: str) -> Estimate:
        """How long this would take and where in line it would stand if it were asked for now. Raises what `submit` raises, but `Busy`."""
        return self._dispatcher.estimate(self._resolver.recipe(request, owner, is_draft=True), owner)

    # Pictures that people bring

    def add_input(self, data: bytes, owner: str) -> InputImage:
        """Keep a picture to start from. Raises `InvalidRequest` about the source."""
        self._limits.check_input(owner)
        image, note = read_upload(data)
        return self._inputs.add(image, owner, note=note)

    def add_mask(self, source: str, mask: bytes | tuple[Stroke, ...], owner: str, *, base: str | None = None) -> InputImage:
        """Keep a mask for a source: a picture file of its size, white where it says repaint, or strokes.

        `base` is the hash of an earlier mask that the strokes go on from. Raises `InvalidRequest` or `NotFound`.
        """
        self._limits.check_input(owner)
        known = self._inputs.get(source, owner, field="source")
        if isinstance(mask, bytes):
            image = read_mask_upload(mask, (known.width, known.height))
        else:
            if base is not None:
                self._resolver.check_mask(known, base, owner)
            below = None if base is None else self._inputs.mask(base)
            image = Image.fromarray(rasterise(mask, known.width, known.height, below=below))
        if image.getbbox() is None:
            raise InvalidRequest("The mask is empty.", "Paint over what should change.", "mask")
        return self._inputs.add(image, owner)

    def add_folder(self, data: BinaryIO, owner: str) -> list[Brought]:
        """Keep every picture of a zip. A file that is no picture has its reason instead. Raises `InvalidRequest` about the zip."""
        found: list[Brought] = []
        for name, content in read_sources(data):
            try:
                found.append(Brought(name=name, image=self.add_input(content, owner)))
            except EngineError as error:
                found.append(Brought(name=name, error=error.to_plain()))
        return found

    def input_from_picture(self, picture_id: str, owner: str) -> InputImage:
        """A result of the owner as a source. Raises `NotFound`."""
        path = self._history.get(picture_id, owner).path
        try:
            return self.add_input(path.read_bytes(), owner)
        except OSError as error:
            raise NotFound("The file of this picture is gone.", "Choose another one.", "source") from error

    def input_image(self, digest: str, owner: str | None = None) -> InputImage:
        """Facts about a source or mask. Raises `NotFound`."""
        return self._inputs.get(digest, owner, field="source")

    def input_path(self, digest: str) -> Path:
        return self._inputs.path(digest)

    def read_settings(self, data: bytes, owner: str) -> ReadSettings:
        """The settings inside a picture file, and what of them is not here. Raises `DamagedFile` where it is none or carries none."""
        found = self._settings_reader.read(data, owner)
        return found if found.recipe is None else found.model_copy(update={"remark": self.weights_remark(found.recipe, found.values.get("model"))})

    def weights_remark(self, recipe: Recipe, model: str | None = None) -> str:
        """A sentence where the weights that drew a picture would lie in another way here; "" where they would not.

        `recipe` is the finished picture's own, `model` what its model is called here, if otherwise.
        """
        try:
            card = self._shelves.models.card(model or recipe.model)
        except ModelNotFound:
            return ""
        return on_other_weights(recipe.packing, self.memory.weights(card))

    # One visitor on two devices

    def device_code(self, owner: str) -> DeviceCode:
        """A short code that makes another device the same visitor, once, within three minutes."""
        return self._codes.make(owner)

    def use_device_code(self, text: str, owner: str, *, brings: bool) -> str:
        """The visitor that this device of `owner` becomes; with `brings` their pictures come along. Raises `NotFound` or `Busy`.

        Guessing has to be slowed down by whoever calls this: they know where it comes from.
        """
        if brings and self.jobs(owner):
            raise Busy("Jobs of this device are still open.", "Let them finish or stop them, then enter the code again.", "code")
        into = self._codes.use(text)
        if brings and into != owner:
            adopt(self._store, owner, into)
        return into

    # What is here

    def history(self, owner: str, limit: int = 60, *, after: str | None = None, in_bin: bool = False) -> list[Picture]:
        """The owner's pictures, newest first, or what is in their bin; `after` is the last picture of the page before."""
        return self._history.of_owner(owner, limit, after=after, in_bin=in_bin)

    def tray(self, owner: str) -> TrayCounts:
        """How many pictures they have, and how many are in their bin."""
        return self._history.tray(owner)

    def throw_away(self, picture_ids: Sequence[str], owner: str) -> int:
        """Put pictures of the owner into their bin; how many were put there."""
        return self._history.throw_away(picture_ids, owner)

    def bring_back(self, picture_ids: Sequence[str], owner: str) -> int:
        """Put pictures out of the bin, where they were; how many were."""
        return self._history.bring_back(picture_ids, owner)

    def empty_bin(self, owner: str) -> int:
        """Destroy what is in the owner's bin, for good; how many pictures that were."""
        return self._history.empty_bin(owner)

    def thumbnail(self, picture_id: str) -> bytes:
        """A small square JPEG of a picture. Raises `NotFound`."""
        found = small_picture(self._history.get(picture_id, None).path)
        if found is None:
            raise NotFound("The file of this picture is gone.", "Draw it again from its settings.")
        return found

    def picture(self, picture_id: str, owner: str | None = None) -> Picture:
        """One picture. Raises `NotFound`, also when it is somebody else's."""
        return self._history.get(picture_id, owner)

    def picture_file(self, picture_id: str, kind: PictureFormat = "png", owner: str | None = None) -> bytes:
        """A picture as another kind of file, its recipe inside. PNG is the original, byte for byte. Raises `NotFound` or `InvalidRequest`."""
        try:
            return converted(self._history.get(picture_id, owner).path, kind)
        except FileNotFoundError as error:
            raise NotFound("The file of this picture is gone.", "Draw it again from its settings.") from error

    def models(self) -> list[ModelCard]:
        """The models that are here now, the bundled one first; one that cannot be used says why in its card."""
        return self._shelves.models.cards()

    def model(self, name: str | None = None) -> ModelCard:
        """One that can be used; without a name, the default. Raises `ModelNotFound`."""
        return self._shelves.models.card(name or self.default_model)

    @property
    def default_model(self) -> str:
        """What is drawn with where a request names no model."""
        return self._default_model.name

    def choose_default_model(self, name: str) -> None:
        """For an operator; it counts from the next request on. Raises `ModelNotFound` or `InvalidRequest`."""
        self._default_model.choose(name)

    def remove_model(self, name: str) -> Path:
        """For an operator: put a model into `data/bin`, and say where. Raises `ModelNotFound`, or `InvalidRequest` for one that has to stay."""
        if name == self.default_model:
            raise InvalidRequest("This model is the default of this studio.", "Make another one the default first.", "model")
        if any(self._journal.get(job_id).recipe.model == name for job_id in self._journal.waiting()):
            raise InvalidRequest("Pictures are still waiting for this model.", "Let them finish, or stop them, then delete it.", "model")
        return self._shelves.models.remove(name, self.settings.data / "bin")

    def model_words(self, name: str) -> str:
        """What its maker wrote about it, Markdown as it is; "" where there is nothing. Raises `ModelNotFound`."""
        return self._shelves.models.words(name)

    def offers(self) -> tuple[ModelOffer, ...]:
        """Models that could be here, from the smallest to the largest."""
        return read_offers()

    def suggestion(self) -> ModelOffer | None:
        """The model to begin with on this machine's graphics card; None without one, and once any other model than the starter is here or under way."""
        has_own = self.downloads.all() or any(not card.is_bundled and card.refusal is None for card in self.models())
        return None if has_own else suggest(self.offers(), self.memory.room())

    def upscalers(self) -> list[UpscalerCard]:
        return self._shelves.upscalers.cards()

    def vaes(self) -> list[VaeCard]:
        """VAEs that may stand in for a model's own; one that cannot be used says why in its card."""
        return self._shelves.vaes.cards()

    def loras(self) -> list[LoraCard]:
        """The adapters that are here now; one that cannot be used says why in its card."""
        return self._shelves.loras.cards()

    @property
    def may_fetch(self) -> bool:
        """Whether whoever opens the page may fetch files from the hub: an operator's disk and an operator's name."""
        return not self.settings.public

    def check_may_fetch(self, field: str) -> None:
        """Raises `InvalidRequest` about a control where nobody may."""
        if not self.may_fetch:
            raise InvalidRequest("Nothing can be fetched from the hub here.", "Ask whoever runs this studio.", field)

    def reference_adapters(self, model: str | None = None) -> list[ReferenceAdapterCard]:
        """What lets a model see reference pictures; one that cannot be used with it says why in its card. Raises `ModelNotFound`."""
        name = model or self.default_model
        return self._shelves.ip_adapters.cards_for(self._shelves.models.card(name), self._shelves.models.folder(name))

    def qualities(self, model: str | None = None) -> tuple[Quality, ...]:
        """Draft, standard and fine as a model offers them with the adapters that are here. Raises `ModelNotFound`."""
        return qualities(self._shelves.models.card(model or self.default_model), self._shelves.loras.cards())

    def lora_picture(self, name: str) -> bytes | None:
        """A small JPEG of what an adapter does; None where there is none. Raises `ModelNotFound`."""
        return self._shelves.loras.picture(name)

    @property
    def may_add_loras(self) -> bool:
        """Whether whoever opens the page may bring adapters: on one's own machine, or where the settings say so."""
        return not self.settings.public or self.settings.visitor_adapters

    def check_may_add_loras(self) -> None:
        """Raises `InvalidRequest` where nobody may."""
        if not self.may_add_loras:
            raise InvalidRequest("Adapters cannot be brought to this studio.", "Ask whoever runs it to put the file into data/loras.", "loras")

    def add_lora(self, name: str, data: BinaryIO) -> LoraCard:
        """Keep a .safetensors file in `data/loras` under its name, once it is judged. Raises `EngineError` about the control "loras"."""
        self.check_may_add_loras()
        return self._shelves.loras.add(self.settings.data / "loras", name, data)

    def lora_offers(self, name: str) -> tuple[HubOffer, ...]:
        """The adapters that a hub id ("owner/name", "owner/name/file.safetensors") means, each pinned to a commit, with size and licence.

        For an operator. Raises `InvalidRequest`, `NotFound`, or `EngineError` where the hub cannot be reached.
        """
        return self._hub_loras.offers(name)

    def fetch_lora(self, offer: HubOffer, report: Callable[[int, int], None] | None = None) -> LoraCard:
        """Bring an adapter that was offered, for an operator who has read its size and licence; `report` as for a preprocessor.

        It is in the rack when this returns, whole and judged; before that, and after any error, it is not.
        """
        return self._shelves.loras.fetch(self._hub_loras, offer, report)

    def styles(self) -> list[Style]:
        return self._shelves.styles.cards()

    def style(self, name: str) -> Style:
        """Raises `InvalidRequest`."""
        return self._shelves.styles.card(name)

    def embeddings(self) -> list[EmbeddingCard]:
        """The words of one's own that are here now; one that cannot be used says why in its card."""
        return self._shelves.embeddings.cards()

    def words(self, prompt: str, model: str | None = None) -> tuple[Counted, ...]:
        """How each text encoder of a model reads a prompt: for a live counter. Quick, and without torch. Raises `ModelNotFound`."""
        folder = self._shelves.models.folder(model or self.default_model)
        return count_words(prompt, folder, self._shelves.embeddings.cards(), lists=self._shelves.wildcards.lines)

    def plan(
        self,
        scheduler: SchedulerName,
        schedule: ScheduleName | None,
        steps: int,
        model: str | None = None,
        size: tuple[int, int] | None = None,
    ) -> tuple[float, ...]:
        """Shares of noise before each step, and 0 behind the last: for a plot. Empty where the model's settings are unusual.

        Some flow models are held longer near the noise where the picture is larger: `size` is width and height in pixels, else
        the model's own. Raises `InvalidRequest` where sampler, schedule and steps do not go together.
        """
        name = model or self.default_model
        return noise_plan(self._shelves.models.folder(name), scheduler, schedule, steps, size or self._shelves.models.card(name).default_size)

    def advice(
        self,
        scheduler: SchedulerName,
        schedule: ScheduleName | None,
        steps: int,
        guidance: float,
        model: str | None = None,
        loras: Sequence[str] = (),
    ) -> tuple[str, ...]:
        """Sentences about known pitfalls of a sampler on a model with the adapters of these names; what they warn of still runs."""
        has_helper = any(card.is_few_steps and card.name in loras for card in self._shelves.loras.cards())
        return advise(self._shelves.models.card(model or self.default_model), scheduler, schedule, steps, guidance, has_helper=has_helper)

    def remarks(self, text: str, control: str = "prompt", model: str | None = None) -> tuple[Remark, ...]:
        """What is wrong or odd about the words of a control, the gravest first, while they are being written."""
        return proofread(text, control, model=self.model(model), resolver=self._resolver, embeddings=self._shelves.embeddings)

    def wildcards(self) -> list[str]:
        """Names of the lists that `__name__` in a prompt picks from."""
        return self._shelves.wildcards.names()

    def wildcard(self, name: str) -> tuple[str, ...]:
        """The lines of a list. Raises `InvalidRequest`."""
        return self._shelves.wildcards.lines(name, "prompt")

    def health(self) -> Health:
        states = [host.state() for host in self._hosts]
        # One device that is well is enough to draw.
        worker = next((state for state in ("drawing", "ready", "starting") if state in states), "lost")
        return Health(worker in ("ready", "drawing"), worker, self._dispatcher.waiting(), self.default_model)

    def counts(self) -> Counts:
        """How much this studio has done, over all its starts."""
        return count(self._store)

    def close(self) -> None:
        """Stop the workers; unfinished jobs stay in the journal and go on at the next start, within the picture where they were."""
        self.downloads.close()
        self.controls.close()
        self._dispatcher.close()
        self._store.dispose()

    def __enter__(self) -> Engine:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _is_theirs(self, job_id: str, owner: str) -> bool:
        try:
            self._journal.get(job_id, owner)
        except NotFound:
            return False
        return True

    def _accept(self, recipe: Recipe, owner: str, *, more: int = 1) -> Job:
        self._limits.check_jobs(owner, more=more)
        self._limits.check_job(recipe, owner, more=more)
        job = self._journal.accept(recipe, owner)
        log.info("accepted", extra={"job": job.id, "steps": recipe.steps})
        self._dispatcher.add(job)
        return job


def _hosts(settings: Settings, desk: MemoryDesk) -> tuple[Host, ...]:
    """One for each device."""
    kind = ProcessHost if settings.worker == "process" else InlineHost
    return tuple(kind(device=device, dtype=settings.dtype, memory=desk.for_hosts()) for device in settings.devices)


def _secret(settings: Settings) -> bytes:
    """32 bytes that sign picture links; kept with the data, so links survive a restart."""
    path = settings.data / "secret"
    aside = path.with_name(f".secret-{secrets.token_hex(8)}")
    try:
        aside.touch(mode=0o600)
        aside.write_bytes(secrets.token_bytes(32))
        # Of two servers that start at once, one makes the file, whole; the other finds it.
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return path.read_bytes()
