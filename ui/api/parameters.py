"""The parameters of an endpoint, read from its request class: a field that is added there is reachable at once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from engine import Request

_PICTURE = "the file in base64 or as a data URI, the hash of one that you sent before, or the id of one of your results"
_GROWTH = "pixels of the source by which the frame grows there"
# What the name alone does not say. The ranges come from the contract.
MEANINGS = {
    "prompt": "what you want to see",
    "negative_prompt": "what you do not want to see",
    "steps": "denoising steps",
    "guidance_scale": "how literally the words are taken",
    "scheduler": "how the noise is removed",
    "schedule": "how the steps are spread over the noise; the model's own if left out",
    "width": "pixels drawn at once",
    "height": "pixels drawn at once",
    "seed": "the same seed gives the same picture; random if left out",
    "count": "pictures; picture k has the seed seed + k",
    "model": "name of the model",
    "variation_seed": "which neighbour of the picture; counts only with variation_strength",
    "variation_strength": "how far to turn towards that neighbour",
    "seamless": "edges that meet, for textures",
    "clip_skip": "which layer of the text encoder speaks, counted from its end: 1 is the last, 2 the last but one; that of training if left out",
    "vae": "name of a VAE in place of the model's own",
    "guidance_style": "how the prediction is led towards the words",
    "guidance_rescale": "how far guidance is brought back to the contrast of the picture without it",
    "guidance_start": "share of the steps before guidance begins; until then the prompt alone is heard",
    "guidance_end": "share of the steps after which guidance ends",
    "perturbed_scale": "how far pag and seg turn away from a picture that hangs together less; 3 if left out",
    "score_guidance": "experiment: a second model looks at each step and draws it towards score_target",
    "score_scale": "how hard score_guidance draws; 0 is none",
    "score_target": "what it looks for: for clip words, the prompt if left out; for classifier a label and others, castle | tower, ship",
    "loras": (
        'adapters as {"name": …, "weight": -2 to 2, "blocks": {"down": …, "mid": …, "up.1": …}}, blocks multiply the weight there; '
        "<lora:name:0.8> in the prompt means the same"
    ),
    "controls": (
        'control units as {"image": a picture, "preprocessor": "canny", "settings": {"low": 100}, "control": name of the model, "weight": 0 to 2, '
        '"start": 0, "end": 1, "fit": "crop"}; preprocessor "none" means that the picture already is a map'
    ),
    "references": (
        'pictures that are seen beside the words, at most 4, as {"image": …, "weight": 0 to 2, "start": 0 to 1, "end": 0 to 1, '
        f'"style_only": true for style transfer, "adapter": name}}; image is {_PICTURE}; of each its square middle is seen'
    ),
    "source": _PICTURE,
    "pictures": f"more pictures that the prompt may speak of, in order after the source, as many as the model looks at; each is {_PICTURE}",
    "mask": f"white where it says repaint: {_PICTURE}; or a list of strokes in pixels of the source",
    "strength": "how much of the source is drawn anew",
    "fit": "how the source comes to width and height",
    "expand_left": _GROWTH,
    "expand_top": _GROWTH,
    "expand_right": _GROWTH,
    "expand_bottom": _GROWTH,
    "region": "what the model sees: the masked part and its context, or the whole picture",
    "padding": "pixels of context around the masked part",
    "feather": "pixels over which the seam is blended",
    "is_soft": "grey in the mask means a part of the strength",
    "fill": "what lies under the mask at the start",
    "factor": "how much larger",
    "upscaler": "name of what enlarges before the model draws over it",
    "overlap": "pixels that neighbouring tiles share",
}
_PYTHON: dict[str, Any] = {"string": str, "integer": int, "number": float, "boolean": bool}
_OWN_TYPES: dict[str, Any] = {
    "mask": str | list[dict[str, Any]], "loras": list[dict[str, Any]], "controls": list[dict[str, Any]], "references": list[dict[str, Any]],
    "pictures": list[str],
}  # fmt: skip
# Patterns are how the engine names things; here pictures come in other forms too.
_PICTURES = ("source", "mask")


def names_of(kind: type[Request], needs: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Every field but the mode: what has to be there first, `needs` included, then the contract's order."""
    required = [name for name, field in kind.model_fields.items() if field.is_required() or name in needs]
    return (*required, *(name for name in kind.model_fields if name not in required and name != "mode"))


def sign_as(endpoint: Callable[..., Any], kind: type[Request], *, name: str, text: str, needs: tuple[str, ...] = ()) -> None:
    """Give a function of any values the signature and the docstring that Gradio reads an endpoint's description from."""
    properties: dict[str, dict[str, Any]] = kind.model_json_schema()["properties"]
    schemas = {field: _chosen(properties[field]) for field in names_of(kind, needs)}
    hints: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for field, schema in schemas.items():
        is_required = kind.model_fields[field].is_required() or field in needs
        hint = _OWN_TYPES.get(field) or _PYTHON[schema["type"]]
        hints[field] = hint if is_required else hint | None
        default = inspect.Parameter.empty if is_required else None
        parameters.append(_parameter(field, hints[field], default))
    hints["request"] = gr.Request
    parameters.append(_parameter("request", gr.Request, None))
    lines = [f"    {field}: {'; '.join(filter(None, (MEANINGS[field], _range(field, schema))))}" for field, schema in schemas.items()]
    endpoint.__name__ = name
    endpoint.__doc__ = "\n".join([text, "", "Args:", *lines])
    endpoint.__annotations__ = {**hints, "return": dict[str, Any]}
    endpoint.__signature__ = inspect.Signature(parameters, return_annotation=dict[str, Any])  # pyright: ignore[reportFunctionMemberAccess]


def _parameter(name: str, hint: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=hint)


def _chosen(schema: dict[str, Any]) -> dict[str, Any]:
    """A field's JSON schema without the choice of leaving it open."""
    chosen: dict[str, Any] = next((one for one in schema.get("anyOf", ()) if one["type"] != "null"), {})
    return {**schema, **chosen}


def _range(field: str, schema: Mapping[str, Any]) -> str:
    """ "1 to 200; 20 if left out" and the like."""
    parts: list[str] = []
    if "enum" in schema:
        parts.append(" or ".join(str(one) for one in schema["enum"]))
    if "exclusiveMinimum" in schema:
        parts.append(f"above {schema['exclusiveMinimum']:g}, up to {schema['maximum']:g}")
    elif "minimum" in schema:
        step = f" in steps of {schema['multipleOf']}" if "multipleOf" in schema else ""
        parts.append(f"{schema['minimum']:.10g} to {schema['maximum']:.10g}{step}")
    if "maxLength" in schema and field not in _PICTURES:
        parts.append(f"up to {schema['maxLength']:,} characters")
    if schema.get("default") not in (None, ""):
        parts.append(f"{schema['default']} if left out")
    return "; ".join(parts)
