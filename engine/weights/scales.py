"""Weights in 8 bits that were divided by a number so that they fit: the number lies beside them in the file, one for a layer or one for each row.

Two ways to name it are about: `layer.scale_weight` with an empty `scaled_fp8` in the file, and `layer.weight_scale` with
`layer.comfy_quant`. What they say about inputs is for chips that multiply in 8 bits; Easel multiplies in the type of the run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from engine.weights.headers import Shapes

_BESIDE = (".scale_weight", ".scale_input", ".weight_scale", ".input_scale", ".comfy_quant")
_MARK = "scaled_fp8"
# Numbers that mean something only with a table, or with a scale for each small block.
_PACKED_KINDS = ("I8", "U8", "F4", "I32", "F8_E8M0")


def is_beside(name: str) -> bool:
    """Whether this tensor is about a weight, and none itself."""
    return name.endswith(_BESIDE) or name.rpartition(".")[2] == _MARK


def scale_of(name: str, names: Collection[str]) -> str | None:
    """What the tensor of this name has to be multiplied by, among the names of the same file."""
    layer = name.removesuffix(".weight")
    return next((scale for scale in (f"{layer}.scale_weight", f"{layer}.weight_scale") if scale in names), None) if layer != name else None


def packed_otherwise(shapes: Shapes, kinds: Mapping[str, str]) -> str | None:
    """The first weight whose numbers need more than one factor for a layer or a row; None where there is none."""
    for name, shape in shapes.items():
        if not name.endswith(".weight") or len(shape) < 2:
            continue
        scale = scale_of(name, shapes)
        if kinds.get(name) in _PACKED_KINDS or (scale is not None and not _is_for_rows(shapes[scale], shape[0])):
            return name
    return None


def _is_for_rows(scale: tuple[int, ...], rows: int) -> bool:
    return all(side == 1 for side in scale[1:]) and (not scale or scale[0] in (1, rows))
