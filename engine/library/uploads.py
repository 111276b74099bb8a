"""The one way in which somebody's file becomes a picture: judged by its header, turned upright, plain 8-bit RGB."""

from __future__ import annotations

import io
import struct
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from engine.contract.errors import InvalidRequest

BYTES_MAX = 64 * 1024 * 1024
PIXELS_MAX = 40_000_000
EDGE_MIN, EDGE_MAX = 16, 16_384
# Formats whose decoders are part of Pillow itself; nothing that runs a script or another program.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


def read_upload(data: bytes, field: str = "source", *, behind: str = "white") -> tuple[Image.Image, str]:
    """An upright RGB picture with `behind` in its transparent parts, and a note on what was changed.

    Raises `InvalidRequest` that names the control `field`.
    """
    if len(data) > BYTES_MAX:
        raise InvalidRequest("This file is too large.", f"Choose one of at most {BYTES_MAX // 1024**2} MB.", field)
    try:
        # A header that promises a giant is refused by our own limit, in our own words; odd metadata harms no pixel.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
            _check_size(image.width, image.height, field)
            notes = _notes(image)
            image = ImageOps.exif_transpose(image)
            return _plain(image, behind), " ".join(notes)
    except Image.DecompressionBombError:
        raise _too_large(field) from None
    except UnidentifiedImageError:
        raise InvalidRequest("This file is not a picture.", "Choose a PNG, JPEG, WebP, AVIF, GIF, BMP or TIFF file.", field) from None
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, RuntimeError, struct.error) as error:
        raise InvalidRequest("This picture is damaged or cut short.", "Save or download it again.", field) from error


def _check_size(width: int, height: int, field: str) -> None:
    if width * height > PIXELS_MAX or max(width, height) > EDGE_MAX:
        raise _too_large(field, f" ({width} × {height})")
    if min(width, height) < EDGE_MIN:
        raise InvalidRequest(f"This picture is only {width} × {height} pixels.", f"Choose one of at least {EDGE_MIN} × {EDGE_MIN}.", field)


def _too_large(field: str, size: str = "") -> InvalidRequest:
    hint = f"Choose one of at most {PIXELS_MAX // 1_000_000} megapixels and {EDGE_MAX:,} pixels along an edge."
    return InvalidRequest(f"This picture is too large{size}.", hint, field)


def _notes(image: Image.Image) -> list[str]:
    notes: list[str] = []
    # Counting the frames would read the whole file; whether there is a second one is known at once.
    if getattr(image, "is_animated", False):
        notes.append("Only the first frame is used.")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        notes.append("Transparent parts became white.")
    # Sixteen bits of colour are halved by the decoder itself; only its raw mode tells.
    if image.mode.startswith("I") or image.mode == "F" or ";16" in str(getattr(image, "tile", "")):
        notes.append("Sixteen bits became eight.")
    return notes


def _plain(image: Image.Image, behind: str) -> Image.Image:
    image.load()
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow's own conversion cuts everything above 255 off.
        values: Any = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0, neginf=0)
        scale = 257.0 if image.mode.startswith("I;16") or values.max(initial=0) > 255 else 1.0
        if image.mode == "F" and values.max(initial=0) <= 1:
            scale = 1 / 255
        image = Image.fromarray(np.clip(np.rint(values / scale), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        straight = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", straight.size, behind), straight)
    return image.convert("RGB")


def read_mask_upload(data: bytes, size: tuple[int, int]) -> Image.Image:
    """A mask file as a plain "L" picture, white where it says repaint. Raises `InvalidRequest` unless it has the source's size."""
    # White paint on a transparent layer is how painting programs export a mask: what is transparent is not masked.
    image, _ = read_upload(data, "mask", behind="black")
    if image.size != size:
        message = f"The mask is {image.width} × {image.height} and the source {size[0]} × {size[1]}."
        raise InvalidRequest(message, "Use a mask of the same size.", "mask")
    return image.convert("L")
