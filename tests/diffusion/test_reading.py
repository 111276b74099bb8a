"""Models that several threads read at once, each whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch

from engine.diffusion.loading import Components, load_components
from tests.conftest import STARTER


def test_four_threads_read_the_same_model_whole() -> None:
    def read(_: int) -> Components:
        return load_components(STARTER, device=torch.device("cpu"), dtype=torch.float32)

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(read, range(12))
    wanted = {part: module.state_dict() for part, module in first.parts.items() if isinstance(module, torch.nn.Module)}
    assert set(wanted) == {"unet", "vae", "text_encoder"}
    for one in others:
        for part, values in wanted.items():
            read_ = one.parts[part].state_dict()
            assert read_.keys() == values.keys()
            assert all(torch.equal(read_[name], values[name]) for name in values)
