"""The plotted walk down the noise is the one that the scheduler classes walk."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.contract.errors import InvalidRequest
from engine.contract.families import FAMILIES, Size
from engine.contract.schedulers import ScheduleName, SchedulerName, samplers_for, schedules_of
from engine.contract.timesteps import schedule_timesteps
from engine.diffusion.denoise import set_steps
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.beginning import flow_of
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.schedulers import build_scheduler
from engine.diffusion.text import PromptEncoder
from engine.library.noise_plan import noise_plan, noise_shares
from tests.conftest import STARTER
from tests.diffusion.families import DYNAMIC, FLOW, make_family
from tests.diffusion.test_families import recipe

PAIRS = [(name, schedule) for name in samplers_for(is_flow=False) for schedule in (None, *schedules_of(name))]
# Stable Diffusion 1's own settings, and the same as a newer export writes them.
SD1 = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000, "steps_offset": 1}
CONFIGS: dict[str, dict[str, Any]] = {
    "sd1": SD1,
    "leading": {**SD1, "timestep_spacing": "leading"},
    "trailing": {**SD1, "timestep_spacing": "trailing"},
}


SQUARE, WIDE = (512, 512), (1344, 768)
FLOWS = [key for key, facts in FAMILIES.items() if facts.is_flow]
# What the schedulers of published models say, where that walks another way than those of the tiny ones.
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "flux1 schnell": ("flux1", {**FLOW, "shift": 1.0, "base_shift": 0.5, "max_shift": 1.15}),
    "qwen": ("qwen", {**DYNAMIC, "max_image_seq_len": 8192, "max_shift": 0.9, "shift_terminal": 0.02, "time_shift_type": "exponential"}),
    "sd3 by size": ("sd3", {**DYNAMIC, "shift": 3.0}),
    "zimage": ("zimage", {**FLOW, "shift": 6.0}),
}


def model(folder: Path, config: dict[str, Any]) -> Path:
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    return folder


def walked(name: SchedulerName, schedule: ScheduleName | None, steps: int, config: dict[str, Any]) -> np.ndarray:
    """The timesteps at which the class itself asks the model, each once, as shares of noise."""
    scheduler = build_scheduler(name, config, schedule)
    own = schedule_timesteps(schedule, steps, 1000)
    scheduler.set_timesteps(timesteps=own) if own else scheduler.set_timesteps(steps)
    times = scheduler.timesteps.numpy()
    match name:
        case "heun" | "kdpm2" | "kdpm2_a":
            # Every step but the last asks twice: at its start, and on its way.
            times = (
                times[0::2]
                if name == "kdpm2"
                else np.concatenate([times[:1], times[1:][1::2]])
                if name == "kdpm2_a"
                else np.concatenate([times[:1], times[1::2]])
            )
        case "pndm":
            times = np.delete(times, 1)
        case _:
            pass
    return np.interp(times, np.arange(1000), noise_shares(config))


@pytest.mark.parametrize("kind", ["starter", *CONFIGS])
@pytest.mark.parametrize(("name", "schedule"), PAIRS)
def test_the_plan_is_the_walk(name: SchedulerName, schedule: ScheduleName | None, kind: str, tmp_path: Path) -> None:
    config = CONFIGS.get(kind) or json.loads((STARTER / "scheduler" / "scheduler_config.json").read_text())
    folder = STARTER if kind == "starter" else model(tmp_path, config)
    for steps in (4, 8, 20):
        plan = noise_plan(folder, name, schedule, steps, SQUARE)
        assert len(plan) == steps + 1
        assert plan[-1] == 0
        assert np.abs(np.array(plan[:-1]) - walked(name, schedule, steps, config)).max() < 0.012


@pytest.fixture(scope="module")
def flows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Components]:
    """A tiny model of every family of flows."""
    room = tmp_path_factory.mktemp("flows")
    return {key: load_components(make_family(room / key, key), device=torch.device("cpu"), dtype=torch.float32) for key in FLOWS}


def laid_out(components: Components, config: dict[str, Any], name: SchedulerName, steps: int, size: Size, strength: float) -> np.ndarray:
    """σ before every step that the class itself walks from this strength on, as the modes set it up."""
    scheduler, scale = build_scheduler(name, config), components.vae_scale
    flow = flow_of(components, scheduler, steps, (components.latent_channels, size[1] // scale, size[0] // scale))
    begin = set_steps(scheduler, steps, strength, torch.device("cpu"), flow=flow)
    return scheduler.sigmas.numpy()[begin:-1]


@pytest.mark.parametrize("kind", [*FLOWS, *(f"published {kind}" for kind in PUBLISHED)])
@pytest.mark.parametrize("name", samplers_for(is_flow=True))
def test_the_plan_of_a_flow_is_the_walk_at_every_size(name: SchedulerName, kind: str, flows: dict[str, Components], tmp_path: Path) -> None:
    family, config = PUBLISHED[kind.removeprefix("published ")] if kind.startswith("published ") else (kind, flows[kind].scheduler_config)
    folder = model(tmp_path, dict(config))
    shutil.copy(flows[family].folder / "model_index.json", folder)
    worst, plans = 0.0, {}
    for steps in (1, 2, 4, 9, 28):
        for size in (SQUARE, WIDE):
            plans[steps, size] = plan = noise_plan(folder, name, None, steps, size)
            assert (len(plan), plan[-1]) == (steps + 1, 0)
            for strength in (1.0, 0.6):
                walk = laid_out(flows[family], dict(config), name, steps, size, strength)
                # Where a source comes in is where the page marks it.
                assert len(walk) == (steps if strength == 1 else max(1, int(steps * strength)))
                worst = max(worst, float(np.abs(np.array(plan[steps - len(walk) : -1]) - walk).max()))
    apart = max(abs(a - b) for steps in (4, 9, 28) for a, b in zip(plans[steps, SQUARE], plans[steps, WIDE], strict=True))
    print(f"{kind}, {name}: largest difference {worst:.1e}; {SQUARE} and {WIDE} are {apart:.3f} apart")
    assert worst <= 1e-3
    assert apart > 0.02 if config["use_dynamic_shifting"] else apart == 0


@pytest.mark.parametrize("family", FLOWS)
@pytest.mark.parametrize("name", samplers_for(is_flow=True))
def test_the_plan_of_a_flow_is_what_is_drawn(name: SchedulerName, family: str, flows: dict[str, Components]) -> None:
    components = flows[family]
    asked = recipe(components, scheduler=name, steps=3, guidance_scale=1.0)
    levels = [step.sigma for step in text_to_image(components, PromptEncoder(components), asked)]
    # They count noise against what is left of the picture; here it is their share.
    plan = noise_plan(components.folder, name, None, 3, (asked.width, asked.height))
    assert np.abs(np.array(plan[:-1]) - [level / (1 + level) for level in levels]).max() <= 1e-3


def test_what_does_not_go_together_is_refused_and_the_unusual_has_no_plan(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="Noise schedule"):
        noise_plan(STARTER, "ddim", "karras", 20, SQUARE)
    assert noise_plan(tmp_path, "euler", None, 20, SQUARE) == ()
    assert noise_plan(model(tmp_path, {"shift": 3.0, "num_train_timesteps": 1000}), "euler", None, 20, SQUARE) == ()
    # It says of no family how its steps are laid out, and the starter's knows no flow.
    assert noise_plan(tmp_path, "flow_euler", None, 20, SQUARE) == ()
    assert noise_plan(STARTER, "flow_euler", None, 20, SQUARE) == ()


def test_no_torch_is_needed(tmp_path: Path) -> None:
    code = (
        f"import sys; from engine import Engine, Settings; plan = Engine(Settings(data={str(tmp_path)!r})).plan('euler', 'beta', 12); "
        "sys.exit('torch' in sys.modules or len(plan) != 13)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
