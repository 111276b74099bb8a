"""How each kind of picture file carries two texts: the recipe as canonical JSON, and AUTOMATIC1111's parameters.

PNG has text chunks. JPEG and WebP have EXIF, whose UserComment is where that program looks, and XMP, which other
programs keep when they save a picture again. Pixels are never decoded for reading.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from engine.contract.errors import DamagedFile, InvalidRequest
from engine.library.uploads import FORMATS

PictureFormat = Literal["png", "jpeg", "webp"]
PICTURE_FORMATS: tuple[PictureFormat, ...] = get_args(PictureFormat)

RECIPE_KEY = "easel"
PARAMETERS_KEY = "parameters"
METADATA_MAX_BYTES = 256 * 1024
_NAMESPACE = "https://easel.invalid/ns/1.0/"
# Base64 holds no letter that XML would need escaped, and survives programs that write the attribute as an element.
_IN_XMP = re.compile(rb"easel:recipe\s{0,8}(?:=\s{0,8}[\"']|>)([A-Za-z0-9+/=\s]+)[\"'<]")
_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    f'<rdf:Description rdf:about="" xmlns:easel="{_NAMESPACE}" easel:recipe="%s"/></rdf:RDF></x:xmpmeta>'
)
# Four chroma samples for four pixels, and little enough loss that flat skies stay flat.
_QUALITY: dict[str, dict[str, Any]] = {"jpeg": {"quality": 92, "subsampling": 0}, "webp": {"quality": 90, "method": 4}}


@dataclass(frozen=True)
class Texts:
    """The two texts of a file; None where it has none."""

    recipe: str | None = None
    parameters: str | None = None


def format_of(name: str) -> PictureFormat | None:
    """The kind of file that a name's ending stands for."""
    ending = name.rpartition(".")[2].lower()
    return "jpeg" if ending == "jpg" else next((kind for kind in PICTURE_FORMATS if kind == ending), None)


def png_info(texts: Texts) -> PngInfo:
    """iTXt, because prompts are in any script."""
    info = PngInfo()
    for key, text in ((RECIPE_KEY, texts.recipe), (PARAMETERS_KEY, texts.parameters)):
        if text is not None:
            info.add_itxt(key, text)
    return info


def converted(source: Path, kind: PictureFormat) -> bytes:
    """The bytes of a PNG of ours as another kind of file, with both texts inside. Raises `InvalidRequest` where they have no room."""
    if kind == "png":
        return source.read_bytes()
    texts = read_texts(source)
    target = io.BytesIO()
    try:
        with Image.open(source, formats=("PNG",)) as image:
            image.convert("RGB").save(target, format=kind, exif=_exif(texts), xmp=_xmp(texts), **_QUALITY[kind])
    except ValueError as error:
        # JPEG keeps each of the two in a segment of 64 KB. Leaving them out would be a quiet change.
        message = f"The settings of this picture are too long for a {kind.upper()} file."
        raise InvalidRequest(message, "Download it as PNG or WebP.", "format") from error
    return target.getvalue()


def read_texts(source: Path | BinaryIO) -> Texts:
    """Raises `DamagedFile` when it is no picture. Text over 256 KB counts as damage: no recipe comes near it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source, formats=FORMATS) as image:
                info = image.info
                recipe, parameters = info.get(RECIPE_KEY), info.get(PARAMETERS_KEY)
                if image.format != "PNG":
                    recipe, parameters = _from_xmp(info.get("xmp")), _from_exif(info.get("exif"))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise DamagedFile("This file is not a picture.", "Choose a PNG, JPEG or WebP picture.", "file") from error
    return Texts(*(_capped(text) if isinstance(text, str) else None for text in (recipe, parameters)))


def _capped(text: str) -> str:
    if len(text) > METADATA_MAX_BYTES or len(text.encode("utf-8", "replace")) > METADATA_MAX_BYTES:
        raise DamagedFile("The recipe in this picture is too large.", "It was altered.", "file")
    return text


def _xmp(texts: Texts) -> bytes:
    recipe = base64.b64encode((texts.recipe or "").encode()).decode()
    return (_XMP % recipe).encode()


def _from_xmp(packet: object) -> str | None:
    if not isinstance(packet, (bytes, str)):
        return None
    raw = packet.encode("utf-8", "replace") if isinstance(packet, str) else packet
    # Base64 is a third longer than what it says; the text is judged again when it is read.
    if len(raw) > 2 * METADATA_MAX_BYTES or (found := _IN_XMP.search(raw)) is None:
        return None
    try:
        return base64.b64decode(re.sub(rb"\s", b"", found[1]), validate=True).decode() or None
    except (binascii.Error, UnicodeDecodeError):
        return None


def _exif(texts: Texts) -> bytes:
    exif = Image.Exif()
    comment = b"UNICODE\0" + (texts.parameters or "").encode("utf-16-be")
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    return exif.tobytes()


def _from_exif(raw: object) -> str | None:
    if not isinstance(raw, bytes) or len(raw) > 2 * METADATA_MAX_BYTES:
        return None
    exif = Image.Exif()
    try:
        exif.load(raw)
        comment = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    except (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error):
        return None
    if not isinstance(comment, bytes):
        return comment if isinstance(comment, str) else None
    kind, text = comment[:8], comment[8:]
    if kind == b"UNICODE\0":
        # The standard leaves the order of bytes open; the settings after the prompt are plain letters, so it shows.
        order = "utf-16-be" if text[::2].count(0) >= text[1::2].count(0) else "utf-16-le"
        return text.decode(order, "replace")
    return text.decode("utf-8", "replace").strip("\0") if kind in (b"ASCII\0\0\0", bytes(8)) else None
