"""Files that people bring: the right picture, or one clear sentence that names the control, soon; and the model is as before."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from engine import Engine, InvalidRequest
from engine.library.uploads import read_upload
from tests.conftest import OWNER
from tests.faults.figures import Figures
from tests.pictures import draw, encoded, read
from tests.studio import peak_mb

RED, GREEN, GREY, WHITE = (255, 0, 0), (0, 255, 0), (128, 128, 128), (255, 255, 255)
LIMIT_S = 1.0


def by_opencv(values: NDArray[np.uint16], suffix: str = ".png") -> bytes:
    """Sixteen bits a colour, which Pillow reads but does not write."""
    return cv2.imencode(suffix, values)[1].tobytes()


def half_clear(mode: str = "RGBA") -> bytes:
    image = Image.new("RGBA", (64, 48), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 32, 48))
    return encoded(image.convert(mode))


def rotated(orientation: int) -> bytes:
    """Stored lying on its side; upright it is 48 × 64 and its upper half is red."""
    upright = Image.new("RGB", (48, 64), GREEN)
    upright.paste(RED, (0, 0, 48, 32))
    turns = {1: 0, 3: 180, 6: 90, 8: 270}
    exif = Image.Exif()
    exif[274] = orientation
    return encoded(upright.rotate(turns[orientation], expand=True), "JPEG", exif=exif, quality=95)


def animated(kind: str) -> bytes:
    frames = [Image.new("RGB", (64, 48), colour) for colour in (RED, GREEN, GREY)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {}))


def palette(*, clear: bool = False) -> bytes:
    image = Image.new("RGB", (64, 48), RED).quantize(4)
    return encoded(image, transparency=int(np.asarray(image)[0, 0])) if clear else encoded(image)


def sixteen(channels: int) -> NDArray[np.uint16]:
    return np.full((48, 64, channels), 128 * 257, np.uint16)


# name: file, size and colour at the upper left corner, words of the note
GOOD: dict[str, tuple[Callable[[], bytes], tuple[int, int], tuple[int, int, int], str]] = {
    "alpha": (half_clear, (64, 48), WHITE, "Transparent parts became white."),
    "grey and alpha": (lambda: half_clear("LA"), (64, 48), WHITE, "Transparent parts became white."),
    "palette": (palette, (64, 48), RED, ""),
    "palette with a clear colour": (lambda: palette(clear=True), (64, 48), WHITE, "Transparent parts became white."),
    "EXIF upright": (lambda: rotated(1), (48, 64), RED, ""),
    "EXIF upside down": (lambda: rotated(3), (48, 64), RED, ""),
    "EXIF to the left": (lambda: rotated(6), (48, 64), RED, ""),
    "EXIF to the right": (lambda: rotated(8), (48, 64), RED, ""),
    "CMYK JPEG": (lambda: encoded(Image.new("CMYK", (64, 48), (0, 255, 255, 0)), "JPEG"), (64, 48), RED, ""),
    "CMYK TIFF": (lambda: encoded(Image.new("CMYK", (64, 48), (0, 255, 255, 0)), "TIFF"), (64, 48), RED, ""),
    "16-bit grey": (lambda: by_opencv(sixteen(1)), (64, 48), GREY, "Sixteen bits became eight."),
    "16-bit colour": (lambda: by_opencv(sixteen(3)), (64, 48), GREY, "Sixteen bits became eight."),
    "16-bit TIFF": (lambda: by_opencv(sixteen(3), ".tiff"), (64, 48), GREY, "Sixteen bits became eight."),
    "32-bit whole": (lambda: encoded(Image.fromarray(np.full((48, 64), 32896, np.int32)), "TIFF"), (64, 48), GREY, "Sixteen"),
    "float to one": (lambda: encoded(Image.fromarray(np.full((48, 64), 0.5, np.float32)), "TIFF"), (64, 48), GREY, "Sixteen"),
    "float without numbers": (lambda: encoded(Image.fromarray(np.full((48, 64), np.nan, np.float32)), "TIFF"), (64, 48), (0, 0, 0), ""),
    "one bit": (lambda: encoded(Image.new("1", (64, 48), 1)), (64, 48), WHITE, ""),
    "animated GIF": (lambda: animated("GIF"), (64, 48), RED, "Only the first frame is used."),
    "animated WebP": (lambda: animated("WEBP"), (64, 48), RED, "Only the first frame is used."),
    "animated PNG": (lambda: animated("PNG"), (64, 48), RED, "Only the first frame is used."),
    "40 megapixels": (lambda: encoded(Image.new("RGB", (8000, 5000), RED), compress_level=1), (8000, 5000), RED, ""),
}


def noisy(kind: str) -> bytes:
    values = np.random.default_rng(1).integers(0, 256, (256, 256, 3), np.uint8)
    return encoded(Image.fromarray(values), kind)


# name: file, words of the one sentence
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "not a picture"),
    "1 × 1": (lambda: encoded(Image.new("RGB", (1, 1))), "only 1 × 1 pixels"),
    "67 megapixels": (lambda: encoded(Image.new("RGB", (8192, 8192)), compress_level=1), "too large (8192 × 8192)"),
    "one bit of 81 megapixels": (lambda: encoded(Image.new("1", (9000, 9000))), "too large (9000 × 9000)"),
    "a long ribbon": (lambda: encoded(Image.new("1", (20_000, 20))), "too large"),
    "HTML named PNG": (lambda: b"<!doctype html><html><script>alert(1)</script></html>", "not a picture"),
    "SVG named PNG": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><script>alert(1)</script></svg>', "not a picture"),
    "EPS": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "not a picture"),
    "half a PNG": (lambda: noisy("PNG")[:60_000], "damaged or cut short"),
    "half a JPEG": (lambda: noisy("JPEG")[:9_000], "damaged or cut short"),
    "a header alone": (lambda: noisy("PNG")[:40], "not a picture"),
    "half a WebP": (lambda: noisy("WEBP")[:5_000], "damaged or cut short"),
    "half an AVIF": (lambda: noisy("AVIF")[:3_000], "not a picture"),
}


@pytest.mark.fault("hostile uploads")
@pytest.mark.parametrize("name", GOOD)
@pytest.mark.timed
def test_an_odd_file_becomes_the_right_picture(name: str, figure: Figures) -> None:
    """Odd but honest: CMYK, 16 and 32 bit, animated, turned by EXIF, transparent, 40 megapixels"""
    make, size, colour, words = GOOD[name]
    data = make()
    started = time.perf_counter()
    image, note = read_upload(data)
    elapsed_s = time.perf_counter() - started
    corner: NDArray[np.uint8] = np.asarray(image.crop((0, 0, 1, 1)))[0, 0]
    assert (image.size, image.mode) == (size, "RGB")
    assert np.abs(corner.astype(int) - colour).max() <= 3, corner
    assert words in note
    assert bool(words) == bool(note) or name == "float without numbers"
    figure("read after", elapsed_s, "s", at_most=LIMIT_S)


def refused(engine: Engine, data: bytes) -> tuple[InvalidRequest, float]:
    started = time.perf_counter()
    with pytest.raises(InvalidRequest) as caught:
        engine.add_input(data, OWNER)
    return caught.value, time.perf_counter() - started


@pytest.mark.fault("hostile uploads")
@pytest.mark.timed
def test_bad_files_get_one_sentence_and_leave_the_model_as_it_was(inline_engine: Engine, figure: Figures) -> None:
    """HTML and SVG by another name, bombs, ribbons, cut short, nothing at all"""
    before = read(draw(inline_engine, "txt2img")[0])
    files = {name: make() for name, (make, _) in BAD.items()}
    slowest_s, peak = 0.0, peak_mb()
    for name, (_, words) in BAD.items():
        error, elapsed_s = refused(inline_engine, files[name])
        slowest_s = max(slowest_s, elapsed_s)
        assert error.field == "source"
        assert words in error.message
        assert error.hint
        assert error.message.count(".") == 1
    figure("refused after", slowest_s, "s", at_most=LIMIT_S)
    figure("memory grown by", peak_mb() - peak, "MB", at_most=100)
    assert read(draw(inline_engine, "txt2img")[0]).tobytes() == before.tobytes()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_file_with_flipped_bytes_never_lets_a_strange_error_out(kind: str) -> None:
    rng = np.random.default_rng(5)
    exif = Image.Exif()
    exif[274], exif[270] = 6, "a castle"
    options = {"exif": exif} if kind not in ("GIF", "BMP") else {}
    whole = encoded(Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)), kind, **options)
    for number in range(300):
        data = bytearray(whole if number % 5 else whole[: int(rng.integers(1, len(whole)))])
        for _ in range(int(rng.integers(1, 6))):
            data[int(rng.integers(0, min(len(data), 300)))] = int(rng.integers(0, 256))
        with contextlib.suppress(InvalidRequest):
            assert read_upload(bytes(data))[0].mode == "RGB"


def many_pages(count: int) -> bytes:
    """A TIFF of `count` pages that all show the same 16 × 16 grey pixels."""
    tags = [(256, 16), (257, 16), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 16), (279, 256)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    first, length = 8 + 256, 2 + len(entries) + 4
    pages = (struct.pack("<H", len(tags)) + entries + struct.pack("<I", (first + (k + 1) * length) * (k + 1 < count)) for k in range(count))
    return b"II*\0" + struct.pack("<I", first) + bytes(256) + b"".join(pages)


@pytest.mark.timed
def test_frames_of_a_long_animation_are_not_counted() -> None:
    data = many_pages(50_000)
    started = time.perf_counter()
    assert read_upload(data)[1] == "Only the first frame is used."
    elapsed_s = time.perf_counter() - started
    print(f"50 000 pages: {elapsed_s * 1000:.1f} ms")
    assert elapsed_s < LIMIT_S
