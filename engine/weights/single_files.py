"""A single checkpoint file, said as a folder would say it: the settings of every part, from the names and shapes of its tensors.

Nothing is loaded here. What the shapes do not tell is the same for every model of a family and lies in `presets/single_files`.
A file that holds only a denoiser borrows its other parts from a folder beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from engine.contract.editing import editor_name
from engine.contract.errors import DamagedFile
from engine.contract.families import FAMILIES, family_of
from engine.weights.byte_pairs import CLIP_PAIRS
from engine.weights.fingerprints import DENOISER_AT, DENOISERS, TEXT_AT, TITLES, VAE_AT, Shapes, part_at, text_width, under
from engine.weights.gguf_header import judge_gguf
from engine.weights.headers import Header, judge_header, read_vector
from engine.weights.releases import Told, names_of, release_of
from engine.weights.scales import packed_otherwise
from engine.weights.stamps import Stamp, stamps
from engine.weights.variants import files_under

SINGLE_FILES = (".safetensors", ".gguf")
# In a folder: weights, settings and notes, lists of words.
# What a transformer's file borrows at least; it comes into a folder piece by piece.
_NEEDED = ("scheduler/scheduler_config.json", "transformer/config.json", "vae/config.json", "text_encoder/config.json")
_READ = (".safetensors", ".json", ".txt", ".model")
_USUAL = Path(__file__).resolve().parents[2] / "presets" / "single_files"
_GROUPS, _HEAD = 32, 64
# Width of what Stable Diffusion 2 hears; latents along an edge of its models for 768 pixels; what tells those from the others.
_WIDTH_SD2, _SIZE_V, _SPREAD_V = 1024, 96, 0.09
_PREDICTS = {"v": "v_prediction", "epsilon": "epsilon"}
# Where the text encoders stand, by kind and part; those of OpenCLIP have other names inside.
_ENCODERS = {
    "sd1": {"text_encoder": "cond_stage_model.transformer."},
    "sd2": {"text_encoder": "cond_stage_model.model."},
    "sdxl": {"text_encoder": "conditioner.embedders.0.transformer.", "text_encoder_2": "conditioner.embedders.1.model."},
}
# How the names of OpenCLIP's begin.
OPEN_CLIP = ".model."
_BLOCK = re.compile(r"(?:encoder\.)?down(?:_blocks)?\.(\d+)\.(?:block|resnets)\.(\d+)\.conv2\.weight")
_JSON_MAX = 1024 * 1024


@dataclass(frozen=True)
class SingleFile:
    """`settings` are those of every part, "model_index" and "scheduler" included, as the files of a folder have them.

    `inside` are the parts that the file holds, each under the beginning of its tensors' names; `base` is the folder that
    the others come from, None where they come from nowhere. `wants_vae`: one has to be put beside it to draw. `says`: what
    there is to know about it beyond its family, in sentences. `noted`: what a note beside it says that changes its pictures.
    """

    path: Path
    family: str
    settings: Mapping[str, dict[str, Any]]
    inside: Mapping[str, str]
    base: Path | None = None
    wants_vae: bool = False
    says: str = ""
    noted: str = ""


def is_single_file(model: Path) -> bool:
    return model.suffix.lower() in SINGLE_FILES and model.is_file()


def is_gguf(path: Path) -> bool:
    return path.suffix.lower() == ".gguf"


def judge_file(path: Path) -> Header:
    """Names and shapes of the tensors of either kind of file. Raises `DamagedFile`."""
    return judge_gguf(path) if is_gguf(path) else judge_header(path)


def own_file(model: Path) -> Path:
    """Where its owner writes down facts about a model: title, defaults, the folder that a denoiser borrows from."""
    return model.with_suffix(".json") if model.is_file() else model / "easel.json"


def files_of(model: Path) -> list[Path]:
    """Everything that decides what a model draws: weights, settings, the note of its owner, and what of a folder it borrows.

    Raises `DamagedFile` for a file that makes no model.
    """
    if is_single_file(model):
        base = read_single_file(model).base
        return [model, own_file(model), *(files_of(base) if base is not None else [])]
    return files_under(model, _READ)


def settings_of(model: Path, part: str) -> dict[str, Any]:
    """What the folder or single file `model` says of a part: "unet", "vae", "scheduler", …; "model_index" for the whole.

    Raises `OSError` or `ValueError` where a folder has none that can be read, `DamagedFile` for a file that makes no model.
    """
    if is_single_file(model):
        return read_single_file(model).settings.get(part, {})
    place = (
        model / "model_index.json" if part == "model_index" else model / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    )
    found = json.loads(place.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{place.name} is no table")
    return found


def tokenizer_places(model: Path) -> list[tuple[str, Path]]:
    """Where the tokenizers of a model lie, by part: folders, or a list of byte pairs that comes with Easel."""
    if not is_single_file(model):
        return [(place.name, place) for place in sorted(model.glob("tokenizer*"))]
    file = read_single_file(model)
    borrowed = dict(tokenizer_places(file.base)) if file.base else {}
    names = sorted(name for name in file.settings["model_index"] if name.startswith("tokenizer"))
    return [(name, CLIP_PAIRS.parent if _encoder_of(name) in file.inside else borrowed.get(name, CLIP_PAIRS.parent)) for name in names]


def read_single_file(path: Path) -> SingleFile:
    """Raises `DamagedFile` that says what is missing and what to do about it. Reads the header, and the small files beside it."""
    beside = sorted(one for one in path.parent.glob("*/model_index.json") if not one.parent.is_symlink())
    return _read(path, stamps((path, own_file(path), *beside)))


@lru_cache(maxsize=64)
def _read(path: Path, _stamps: tuple[Stamp, ...]) -> SingleFile:
    header = judge_file(path)
    shapes = header.shapes
    if (packed := packed_otherwise(shapes, header.kinds)) is not None:
        why = f"its numbers are packed in a way that Easel does not read ({header.kinds.get(packed, 'of a kind of its own')})."
        raise _unusable(path, why, "Get it in bf16, in fp8, or as a .gguf file.")
    at = part_at(DENOISER_AT, shapes)
    bare = under(at, shapes)
    if "input_blocks.0.0.weight" not in bare:
        return _borrowing(path, bare, at, header)
    if is_gguf(path):
        raise _unusable(path, "of this family Easel reads no GGUF.", "Get it as a .safetensors file.")
    family = "sdxl" if "label_emb.0.0.weight" in bare else "sd1"
    # The second models are drawn like the first ones; they hear another text encoder.
    is_second = family == "sd1" and (text_width(bare) == _WIDTH_SD2 or bool(under(_ENCODERS["sd2"]["text_encoder"], shapes)))
    kind = "sd2" if is_second else family
    usual = _read_json(_USUAL / f"{kind}.json")
    inside = {"unet": at}
    encoders: dict[str, dict[str, Any]] = {}
    for part, start in _ENCODERS[kind].items():
        if (own := under(start, shapes)) and (found := _text_encoder(own, path)):
            inside[part], encoders[part] = start, _one_layer_less(found) if is_second else found
    vae_at = part_at(VAE_AT, shapes)
    vae = read_vae(under(vae_at, shapes)) if vae_at else None
    if vae is not None:
        inside["vae"] = vae_at
    base = _base(path, kind, needs={*_ENCODERS[kind]} - inside.keys(), width=text_width(bare))
    settings = {**usual, "vae": usual["vae"] | (vae or {}), **{part: usual[part] | found for part, found in encoders.items()}}
    if base is not None:
        try:
            settings |= {part: settings_of(base, part) for part in (*_ENCODERS[kind], "vae") if part not in inside}
        except (OSError, ValueError) as error:
            raise _half(path, base, "settings for all of them") from error
    settings["unet"] = usual["unet"] | _unet(bare, path, pooled=settings.get("text_encoder_2", {}).get("projection_dim", 0))
    predicts, says = _prediction(path, shapes, at, is_second=is_second and settings["unet"]["in_channels"] == settings["unet"]["out_channels"])
    settings["scheduler"] = usual["scheduler"] | predicts
    if is_second and predicts.get("prediction_type") == "v_prediction":
        settings["unet"]["sample_size"] = _SIZE_V
    noted = str(_own(path).get("predicts", ""))
    return SingleFile(path, family, settings, inside, base, wants_vae=vae is None and base is None, says=says, noted=noted)


def _prediction(path: Path, shapes: Shapes, at: str, *, is_second: bool) -> tuple[dict[str, Any], str]:
    """What the scheduler has to know of it, and a sentence where that is a guess.

    A note beside the file counts first (`"predicts": "v"` or `"epsilon"`), then the empty tensor by which newer checkpoints
    say that they predict v. Stable Diffusion 2 is older than that: of its models, those for 768 pixels predict v and those
    for 512 the noise, with the same tensors. The training moved the bias before the last attention apart: its spread is
    under 0.09 where the noise is predicted and over it where v is (the rule that ComfyUI goes by). Its inpainting models
    predict the noise, all of them.
    """
    if (note := _own(path).get("predicts")) is not None:
        if not isinstance(note, str) or note not in _PREDICTS:
            raise _unusable(path, f"{own_file(path).name} says that it predicts something unknown.", 'Write "v" or "epsilon" there.')
        return {"prediction_type": _PREDICTS[note]}, ""
    if "v_pred" in shapes:
        zero = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"} if "ztsnr" in shapes else {}
        return {"prediction_type": "v_prediction", **zero}, ""
    names = [name for name in shapes if name.startswith(f"{at}output_blocks.") and name.endswith(".1.transformer_blocks.0.norm1.bias")]
    if not is_second or not names:
        return {}, ""
    last = max(names, key=lambda name: int(name.removeprefix(at).split(".")[1]))
    is_v = float(np.std(read_vector(path, last))) > _SPREAD_V
    seems, other = ("v, for 768 pixels", "epsilon") if is_v else ("the noise, for 512 pixels", "v")
    wish = f'{{"predicts": "{other}"}}'
    says = f"Its weights look like those that predict {seems}. Should its pictures be noise, write {wish} into {own_file(path).name} beside it."
    return ({"prediction_type": "v_prediction"} if is_v else {}), says


def _one_layer_less(encoder: dict[str, Any]) -> dict[str, Any]:
    """Stable Diffusion 2 hears the last layer but one. A file that holds the whole encoder, with its projection, has one that nobody needs."""
    spare = 1 if "projection_dim" in encoder else 0
    kept = {name: value for name, value in encoder.items() if name != "projection_dim"}
    return kept | {"num_hidden_layers": encoder["num_hidden_layers"] - spare}


# The other parts


def _borrowing(path: Path, bare: Shapes, at: str, header: Header) -> SingleFile:
    """A transformer's file: its sizes and all its other parts are those of a folder of the same family, also where it brings some itself."""
    mark = next((mark for mark in DENOISERS if mark.is_in(bare)), None)
    if mark is None or mark.family not in FAMILIES:
        raise _unusable(path, "Easel cannot draw with it in this form yet.", "Get the model as a folder with a model_index.json.")
    if is_gguf(path) and find_spec("gguf") is None:
        raise _unusable(path, "the package gguf is not installed here.", "Whoever runs this studio can add it: pip install -r requirements-gguf.txt.")
    told = _release(path, mark.family, bare, header.words)
    unread = [name for name, starts in (("VAE", VAE_AT), ("text encoder", TEXT_AT)) if part_at(starts, header.shapes)]
    base = _base(path, mark.family, needs={"text_encoder", "vae"}, width=None, pipeline=told.release.pipeline if told else "", unread=unread)
    assert base is not None
    if gone := [name for name in _NEEDED if not (base / name).is_file()]:
        raise _half(path, base, gone[0])
    parts = [name for name, entry in settings_of(base, "model_index").items() if isinstance(entry, list) and (base / name / "config.json").is_file()]
    settings = {part: settings_of(base, part) for part in (*parts, "model_index", "scheduler")}
    settings["transformer"] = _transformer(path, mark.family, bare, settings["transformer"])
    says = [f"It draws with the {' and the '.join(unread)} of {base.name}; what it holds of these itself is not read."] if unread else []
    if told is not None:
        # The folder may be of another release than the file.
        settings["model_index"] |= {"_class_name": told.release.pipeline}
        settings["transformer"] |= told.release.settings
        says.append(_on_editing(path, told, mark.family, base, can_edit=bool(editor_name(settings["model_index"]))))
    # What the bytes of the file do not say changes its pictures too.
    noted = (
        ""
        if told is None or told.is_inside
        else " ".join((told.release.pipeline, *(f"{name}={value}" for name, value in told.release.settings.items())))
    )
    return SingleFile(path, mark.family, settings, {"transformer": at}, base, says=" ".join(filter(None, says)), noted=noted)


def _half(path: Path, base: Path, missing: str) -> DamagedFile:
    return _unusable(path, f"{base.name}, whose parts it borrows, has no {missing}.", f"Copy or download the whole folder {base.name}.")


def _release(path: Path, family: str, bare: Shapes, words: Mapping[str, str]) -> Told | None:
    try:
        return release_of(family, name=path.stem, tensors=bare, words=words, note=_own(path).get("edits"))
    except ValueError:
        hint = f'Write "{names_of(family)[0]}" there, or false where it does not edit.'
        raise _unusable(path, f"{own_file(path).name} says that it edits in a way that is not known.", hint) from None


def _on_editing(path: Path, told: Told, family: str, base: Path, *, can_edit: bool) -> str:
    title, names = told.release.title, names_of(family)
    if title and not can_edit:
        return f"It is {title}: {told.by}. It cannot edit here: {base.name}, whose parts it borrows, has none that sees pictures. Put the folder of {title} here."
    if title:
        return f"It is {title}, which edits by a sentence: {told.by}."
    if told.by:
        return ""
    wish = f'{{"edits": "{names[0]}"}}'
    return (
        f"Its tensors do not tell whether it edits by a sentence. If it is {' or '.join(names)}, say so in {own_file(path).name} beside it: {wish}."
    )


def _transformer(path: Path, family: str, bare: Shapes, settings: dict[str, Any]) -> dict[str, Any]:
    """Those of the folder, changed by what differs between the models of one family."""
    if family != "flux1":
        return settings
    taken = next((bare[name][1] for name in ("img_in.weight", "x_embedder.weight") if name in bare), None)
    if taken != settings.get("in_channels"):
        raise _unusable(path, f"it takes {taken} channels, and Easel has no mode that gives it those.", "Choose another one.")
    is_told = any(name.startswith(("guidance_in.", "time_text_embed.guidance_embedder.")) for name in bare)
    return settings | {"guidance_embeds": is_told}


def _base(path: Path, family: str, *, needs: set[str], width: int | None, pipeline: str = "", unread: Sequence[str] = ()) -> Path | None:
    """The folder that missing parts come from: the one that is named beside the file, else the only one of its family, or of its `pipeline`.

    None where there is none and none is needed. `unread` are those of the missing parts that the file does hold. Raises `DamagedFile` where `needs`
    cannot be met.
    """
    title, own = FAMILIES[family].title if family in FAMILIES else TITLES[family], _own(path)
    row = "sd1" if family == "sd2" else family
    here = {one.name: one for one in sorted(path.parent.iterdir()) if _fits(one, row, width)} if path.parent.is_dir() else {}
    if (named := own.get("base")) is not None:
        if str(named) not in here:
            message = f"it borrows from {str(named)[:64]}, which is no folder of {title} here."
            raise _unusable(path, message, f"Name another one as base in {own_file(path).name}.")
        return here[str(named)]
    if not needs:
        return None
    missing = sorted({name.removesuffix("_2").replace("_", " ").replace("vae", "VAE") for name in needs} - {*unread})
    ways = [f"Easel does not read the {' and the '.join(unread)} inside it"] if unread else []
    lacks = " and ".join([*ways, *([f"it has no {' and no '.join(missing)}"] if missing else [])])
    if not here:
        hint = "Put a model of it into data/models as a folder: this file then draws with the rest of that one."
        raise _unusable(path, f"{lacks}, and no folder of {title} is here to borrow from.", hint)
    alike = [one for one in here.values() if settings_of(one, "model_index").get("_class_name") == pipeline]
    if len(here) > 1 and len(alike) == 1:
        return alike[0]
    if len(here) > 1:
        hint = f'Say which in {own_file(path).name}, beside it: {{"base": "{next(iter(here))}"}}.'
        raise _unusable(
            path,
            f"{lacks}, and it could borrow from {len(here)} folders." if unread else f"{lacks}, and could borrow from {len(here)} folders.",
            hint,
        )
    return next(iter(here.values()))


def _fits(folder: Path, family: str, width: int | None) -> bool:
    try:
        facts = family_of(settings_of(folder, "model_index")) if folder.is_dir() and not folder.is_symlink() else None
        return facts is not None and facts.key == family and (width is None or settings_of(folder, "unet").get("cross_attention_dim") == width)
    except (OSError, ValueError):
        return False


def _own(path: Path) -> dict[str, Any]:
    place = own_file(path)
    return _read_json(place) if place.is_file() and place.stat().st_size < _JSON_MAX else {}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DamagedFile(f"{path.name} cannot be read.", "Put the original file back, or take it away.", "model")
    return found


# Shapes to settings


def _unet(bare: Shapes, path: Path, *, pooled: int) -> dict[str, Any]:
    """The settings of a `UNet2DConditionModel`. `pooled` is the width of what an SDXL model hears of the whole prompt."""
    try:
        count = 1 + max(int(name.split(".")[1]) for name in bare if name.startswith("input_blocks."))
        ends = [number for number in range(count) if f"input_blocks.{number}.0.op.weight" in bare] + [count]
        layers, width = ends[0] - 1, text_width(bare)
        firsts = [1, *(end + 1 for end in ends[:-1])]
        channels = [bare[f"input_blocks.{first}.0.out_layers.3.weight"][0] for first in firsts]
        depths = [_depth(bare, f"input_blocks.{first}.1.") for first in firsts]
        taken, given = bare["input_blocks.0.0.weight"][1], bare["out.2.weight"][0]
        linear = next(len(shape) == 2 for name, shape in bare.items() if name.endswith(".proj_in.weight"))
    except (KeyError, ValueError, IndexError, StopIteration):
        raise _incomplete(path, "denoiser") from None
    if ends != [(layers + 1) * (level + 1) for level in range(len(ends))] or width is None:
        raise _incomplete(path, "denoiser")
    if taken not in (given, 2 * given + 1):
        raise _unusable(path, f"its denoiser takes {taken} channels, and Easel has no mode that gives it those.", "Choose another one.")
    middle = _depth(bare, "middle_block.1.")
    found: dict[str, Any] = {
        "_class_name": "UNet2DConditionModel", "in_channels": taken, "out_channels": given, "block_out_channels": channels, "layers_per_block": layers,
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
        # The middle takes the last one.
        "transformer_layers_per_block": [depth or 1 for depth in depths[:-1]] + [middle or 1],
        "cross_attention_dim": width, "use_linear_projection": linear, "norm_num_groups": _GROUPS,
        # Its old name; what it counts are heads: eight of them, until models with linear projections had heads of 64.
        "attention_head_dim": [max(1, channel // _HEAD) for channel in channels] if linear else 8,
    }  # fmt: skip
    if (told := bare.get("label_emb.0.0.weight")) is not None:
        found |= {"projection_class_embeddings_input_dim": told[1], "addition_time_embed_dim": (told[1] - pooled) // 6}
    return found


def _depth(bare: Shapes, start: str) -> int:
    """Transformer layers under a name."""
    numbers = {name.removeprefix(start).split(".")[1] for name in bare if name.startswith(f"{start}transformer_blocks.")}
    return len(numbers)


def read_vae(bare: Shapes) -> dict[str, Any] | None:
    """The settings of an `AutoencoderKL` in either layout, without what its latents are scaled by; None for another kind."""
    try:
        blocks = sorted((int(found[1]), int(found[2]), name) for name in bare if name.startswith("encoder.") and (found := _BLOCK.match(name)))
        levels, latents = 1 + blocks[-1][0], bare["decoder.conv_in.weight"][1]
        widths = [next(bare[name][0] for level, _, name in blocks if level == wanted) for wanted in range(levels)]
        return {
            "_class_name": "AutoencoderKL", "in_channels": bare["encoder.conv_in.weight"][1], "out_channels": bare["decoder.conv_out.weight"][0],
            "latent_channels": latents, "block_out_channels": widths, "layers_per_block": sum(level == 0 for level, _, _ in blocks),
            "down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels, "norm_num_groups": _GROUPS,
            "use_quant_conv": "quant_conv.weight" in bare, "use_post_quant_conv": "post_quant_conv.weight" in bare,
        }  # fmt: skip
    except (KeyError, IndexError, StopIteration):
        return None


def latents_of(vae: Mapping[str, Any]) -> tuple[int, int, float]:
    """Channels, pixels per latent along an edge, and scale of the latents of a VAE of these settings. Raises `KeyError` for another kind of VAE."""
    widths = vae["encoder_block_out_channels"] if "encoder_block_out_channels" in vae else vae["block_out_channels"]
    return int(vae["latent_channels"]), 2 ** (len(widths) - 1), float(vae["scaling_factor"])


def _text_encoder(own: Shapes, path: Path) -> dict[str, Any] | None:
    """The settings of a CLIP text encoder, as OpenAI's or as OpenCLIP's layout has it; None where there is none."""
    bare = {name.removeprefix("text_model."): shape for name, shape in own.items()}
    try:
        if "token_embedding.weight" in bare:
            vocabulary, width = bare["token_embedding.weight"]
            layers = {name.split(".")[2] for name in bare if name.startswith("transformer.resblocks.")}
            # Written back from a folder of Stable Diffusion 2 it has none.
            inner, projected = bare["transformer.resblocks.0.mlp.c_fc.weight"][0], bare.get("text_projection", (0, None))[1]
            room = bare["positional_embedding"][0]
        elif "embeddings.token_embedding.weight" in bare:
            vocabulary, width = bare["embeddings.token_embedding.weight"]
            layers = {name.split(".")[2] for name in bare if name.startswith("encoder.layers.")}
            inner, projected = bare["encoder.layers.0.mlp.fc1.weight"][0], None
            room = bare["embeddings.position_embedding.weight"][0]
        else:
            return None
    except (KeyError, IndexError, ValueError):
        raise _incomplete(path, "text encoder") from None
    return {
        "vocab_size": vocabulary, "hidden_size": width, "num_hidden_layers": len(layers), "num_attention_heads": max(1, width // _HEAD),
        "intermediate_size": inner, "max_position_embeddings": room, **({} if projected is None else {"projection_dim": projected}),
    }  # fmt: skip


def _encoder_of(tokenizer: str) -> str:
    return tokenizer.replace("tokenizer", "text_encoder")


def _incomplete(path: Path, part: str) -> DamagedFile:
    return _unusable(path, f"layers of its {part} are missing.", "Copy or download it again.")


def _unusable(path: Path, why: str, hint: str) -> DamagedFile:
    return DamagedFile(f"The file {path.name} cannot be drawn with: {why}", hint, "model")
