"""A model whose files are damaged is refused before the device is touched, and the resident model stays where it is."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import DamagedFile, Engine, EngineError, TextToImage
from tests.conftest import OWNER, STARTER
from tests.faults.figures import Figures
from tests.faults.test_device import components_of, draw, painter_of

Make = Callable[..., TextToImage]
UNET = "unet/diffusion_pytorch_model-00002-of-00003.safetensors"

SPOILT: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "weights cut short": (UNET, lambda whole: whole[: len(whole) // 2]),
    "weights cut by a byte": (UNET, lambda whole: whole[:-1]),
    "a byte of the header flipped": (UNET, lambda whole: whole[:1000] + bytes([whole[1000] ^ 0x80]) + whole[1001:]),
    "a byte of its length flipped": (UNET, lambda whole: bytes([whole[0] ^ 1]) + whole[1:]),
    "another file in its place": ("vae/diffusion_pytorch_model.safetensors", lambda whole: b"\x80\x02}q\x00." * 1000),
    "a byte of the list flipped": ("model_index.json", lambda whole: whole[:5] + b"\xff" + whole[6:]),
}


@pytest.mark.fault("damaged model")
@pytest.mark.parametrize("kind", SPOILT)
@pytest.mark.timed
def test_a_damaged_model_is_refused_and_the_resident_one_stays(
    inline_engine: Engine, request_of: Callable[..., TextToImage], tmp_path: Path, kind: str, figure: Figures
) -> None:
    """A copy of the starter, cut short or with a flipped byte in header, length or list"""
    name, spoil = SPOILT[kind]
    broken = tmp_path / "models" / "broken"
    shutil.copytree(STARTER, broken)
    before = draw(inline_engine, request_of())
    resident = components_of(inline_engine)
    (broken / name).write_bytes(spoil((broken / name).read_bytes()))
    began = time.monotonic()
    with pytest.raises(EngineError, match="cannot be used") as caught:
        inline_engine.submit(request_of(model="broken"), OWNER)
    figure("refused after", time.monotonic() - began, "s", at_most=1)
    assert caught.value.hint
    # Damaged while its job waited in the line: the worker finds it, before it lets go of what it has.
    with pytest.raises(DamagedFile):
        painter_of(inline_engine).load(broken)
    assert components_of(inline_engine) is resident
    assert draw(inline_engine, request_of()) == before
