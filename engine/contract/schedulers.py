"""The samplers a request may name: key, label and behaviour. The classes live in `engine/diffusion/schedulers.py`."""

from typing import Literal, get_args

SchedulerName = Literal["dpmpp_2m", "euler", "ddim", "unipc", "heun", "euler_a"]

SCHEDULER_LABELS: dict[SchedulerName, str] = {
    "dpmpp_2m": "DPM++ 2M",
    "euler": "Euler",
    "ddim": "DDIM",
    "unipc": "UniPC",
    "heun": "Heun",
    "euler_a": "Euler a",
}

SCHEDULER_NOTES: dict[SchedulerName, str] = {
    "dpmpp_2m": "settles quickly; the default",
    "euler": "settles; plain and predictable",
    "ddim": "settles; the classic",
    "unipc": "settles in very few steps",
    "heun": "settles; twice the work a step",
    "euler_a": "keeps exploring: more steps, another picture",
}


def scheduler_key(name: str) -> SchedulerName | None:
    """The key for a key or a label in any case ("DPM++ 2M", "euler a", "ddim"); None if there is none."""
    wanted = name.strip().lower()
    for key in get_args(SchedulerName):
        if wanted in (key, SCHEDULER_LABELS[key].lower()):
            return key
    return None
