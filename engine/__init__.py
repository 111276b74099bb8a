"""The door of the engine. Everything outside knows only these names; importing them imports no torch."""

from engine.contract.adapters import LORA_WEIGHT_MAX, LORAS_MAX, LoraCard, LoraUse
from engine.contract.chunks import Counted
from engine.contract.embeddings import EmbeddingCard
from engine.contract.errors import (
    BadNumbers,
    Busy,
    DamagedFile,
    DiskFull,
    EngineError,
    IncompatibleAdapter,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    OutOfMemory,
    WorkerLost,
)
from engine.contract.events import Cancelled, Drawn, Ending, Event, Failed, Finished, Loading, Progress, Queued
from engine.contract.models import ModelCard
from engine.contract.recipe import Recipe
from engine.contract.remarks import Remark
from engine.contract.requests import (
    CONTROL_NAMES,
    COUNT_MAX,
    EXPAND_MAX,
    FEATHER_MAX,
    GUIDANCE_MAX,
    PADDING_MAX,
    PROMPT_MAX,
    SEED_MAX,
    SIZE_MAX,
    SIZE_MIN,
    SIZE_MULTIPLE,
    STEPS_MAX,
    ImageToImage,
    Inpaint,
    Request,
    TextToImage,
    Upscale,
    parse_request,
)
from engine.contract.results import Brought, InputImage, Job, JobState, Picture, UpscalerCard
from engine.contract.schedulers import (
    SCHEDULE_LABELS,
    SCHEDULE_NOTES,
    SCHEDULER_FACTS,
    SCHEDULER_GROUPS,
    SCHEDULER_LABELS,
    SCHEDULER_NOTES,
    ScheduleName,
    SchedulerFacts,
    SchedulerGroup,
    SchedulerName,
    schedules_of,
)
from engine.contract.settings import Settings
from engine.contract.sheet import VARIED, Axis, CellView, Sheet, expand_choices, parse_axis
from engine.contract.strokes import Stroke, parse_strokes
from engine.contract.styles import Style, apply_style
from engine.engine import Engine, Health
from engine.jobs.watch import Watch
from engine.library.uploads import BYTES_MAX as UPLOAD_BYTES_MAX

__all__ = [
    "CONTROL_NAMES", "COUNT_MAX", "EXPAND_MAX", "FEATHER_MAX", "GUIDANCE_MAX", "LORAS_MAX", "LORA_WEIGHT_MAX", "PADDING_MAX", "PROMPT_MAX", "SCHEDULER_FACTS", "SCHEDULER_GROUPS",
    "SCHEDULER_LABELS", "SCHEDULER_NOTES", "SCHEDULE_LABELS", "SCHEDULE_NOTES", "SEED_MAX", "SIZE_MAX",
    "SIZE_MIN", "SIZE_MULTIPLE", "STEPS_MAX", "UPLOAD_BYTES_MAX", "VARIED",
    "Axis", "BadNumbers", "Brought", "Busy", "Cancelled", "CellView", "Counted", "DamagedFile", "DiskFull", "Drawn", "EmbeddingCard", "Ending", "Engine", "EngineError",
    "Event", "Failed", "Finished", "Health", "ImageToImage", "IncompatibleAdapter", "Inpaint", "InputImage", "InvalidRequest", "Job",
    "JobState", "Loading", "LoraCard", "LoraUse", "ModelCard", "ModelNotFound", "NotFound", "OutOfMemory", "Picture", "Progress", "Queued", "Recipe", "Remark",
    "Request", "ScheduleName", "SchedulerFacts", "SchedulerGroup", "SchedulerName", "Settings", "Sheet", "Stroke", "Style", "TextToImage", "Upscale", "UpscalerCard", "Watch", "WorkerLost",
    "apply_style", "expand_choices", "parse_axis", "parse_request", "parse_strokes", "schedules_of",
]  # fmt: skip
