"""The plotted walk down the noise is the one that the scheduler classes walk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.contract.errors import InvalidRequest
from engine.contract.schedulers import ScheduleName, SchedulerName, samplers_for, schedules_of
from engine.contract.timesteps import schedule_timesteps
from engine.diffusion.schedulers import build_scheduler
from engine.library.noise_plan import noise_plan, noise_shares
from tests.conftest import STARTER

PAIRS = [(name, schedule) for name in samplers_for(is_flow=False) for schedule in (None, *schedules_of(name))]
# Stable Diffusion 1's own settings, and the same as a newer export writes them.
SD1 = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000, "steps_offset": 1}
CONFIGS: dict[str, dict[str, Any]] = {
    "sd1": SD1,
    "leading": {**SD1, "timestep_spacing": "leading"},
    "trailing": {**SD1, "timestep_spacing": "trailing"},
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
        plan = noise_plan(folder, name, schedule, steps)
        assert len(plan) == steps + 1
        assert plan[-1] == 0
        assert np.abs(np.array(plan[:-1]) - walked(name, schedule, steps, config)).max() < 0.012


def test_what_does_not_go_together_is_refused_and_the_unusual_has_no_plan(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="Noise schedule"):
        noise_plan(STARTER, "ddim", "karras", 20)
    assert noise_plan(tmp_path, "euler", None, 20) == ()
    assert noise_plan(model(tmp_path, {"shift": 3.0, "num_train_timesteps": 1000}), "euler", None, 20) == ()


def test_no_torch_is_needed(tmp_path: Path) -> None:
    code = (
        f"import sys; from engine import Engine, Settings; plan = Engine(Settings(data={str(tmp_path)!r})).plan('euler', 'beta', 12); "
        "sys.exit('torch' in sys.modules or len(plan) != 13)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
