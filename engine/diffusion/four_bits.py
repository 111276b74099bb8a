"""Linear layers whose weights are kept in 4 bits: NF4 (Dettmers et al. 2023, arXiv 2305.14314), in the numbers of bitsandbytes and by its products."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import torch

# One scale for so many numbers, along the rows.
BLOCK = 64
# What is encoded at a time: small enough for a processor's cache, so that a large layer needs no second one beside it.
_CHUNK = BLOCK * 4096


class FourBitLinear(torch.nn.Linear):
    """A linear layer (in, out) made from one that is whole. `codes` hold two numbers a byte, `scales` one float32 for each 64 numbers.

    Both are plain buffers, and nothing in them ever changes: they move, rest, return and are counted like any others. The
    layer of bitsandbytes itself would write its weights anew at the first use on processors that multiply in bfloat16,
    compute a float32 model in bfloat16 there, take only rows in thirty-twos, and come back from it changed.
    """

    codes: torch.Tensor
    scales: torch.Tensor

    def __init__(self, whole: torch.nn.Linear, dtype: torch.dtype, encoded: tuple[torch.Tensor, torch.Tensor] | None = None) -> None:
        """`encoded` are codes and scales that are there already: of `whole` only its sizes and its bias are looked at then."""
        # Not those of a linear layer, which would make a weight.
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features, self.works_in = whole.in_features, whole.out_features, dtype
        codes, scales = encoded or encode(whole.weight)
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)
        bias: Any = whole.bias
        self.bias = None if bias is None else torch.nn.Parameter(bias.detach().to(dtype), requires_grad=False)

    @property
    def weight(self) -> torch.Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The numbers that it stands for, (out, in): made anew each time, for whoever reads weights. The layer itself does not."""
        if self.codes.is_meta:
            return torch.empty(self.out_features, self.in_features, dtype=self.works_in, device="meta")
        return _functional().dequantize_4bit(self.codes, self._state(self.works_in))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return import_module("bitsandbytes").matmul_4bit(input, self.codes, self._state(input.dtype), bias=self.bias)

    def _state(self, dtype: torch.dtype) -> Any:
        shape = torch.Size((self.out_features, self.in_features))
        return _functional().QuantState(absmax=self.scales, shape=shape, blocksize=BLOCK, quant_type="nf4", dtype=dtype)


def in_four_bits(module: Any, dtype: torch.dtype) -> Any:
    """The module with the linear layers of its blocks in 4 bits, one after the other, and everything else in `dtype`.

    What stands outside the blocks stays whole: the embedders of time, words and latents and the last projection are small, and
    every number of a picture goes through them.
    """
    for name in [name for name, one in module.named_modules() if is_taken(name, one)]:
        place, _, last = name.rpartition(".")
        parent = module.get_submodule(place)
        setattr(parent, last, FourBitLinear(getattr(parent, last), dtype))
    # What is no part of a model's state stays as it was made: tables of angles are in float32 for good reason.
    for name, value in module.state_dict().items():
        place, _, last = name.rpartition(".")
        parent = module.get_submodule(place)
        if not isinstance(parent, FourBitLinear) and value.is_floating_point() and value.dtype != dtype:
            is_parameter = isinstance(getattr(parent, last), torch.nn.Parameter)
            setattr(parent, last, torch.nn.Parameter(value.to(dtype), requires_grad=False) if is_parameter else value.to(dtype))
    return module


def encode(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and scales of a matrix on the CPU: to the bit what bitsandbytes' `quantize_4bit` makes.

    That one looks each number up in a table; counting the bounds below it takes a tenth of the time, and the same code
    comes out on every machine, whatever device draws.
    """
    numbers = weight.detach().reshape(-1)
    made = [_encode(chunk) for chunk in numbers.split(_CHUNK)]
    codes = torch.cat([codes for codes, _ in made])
    return codes[: (numbers.numel() + 1) // 2].unsqueeze(1), torch.cat([scales for _, scales in made])


def _encode(numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    full = torch.nn.functional.pad(numbers.float(), (0, -numbers.numel() % BLOCK)).view(-1, BLOCK)
    scales = full.abs().amax(1)
    unit = (full * (1 / scales.clamp(min=1e-38)).unsqueeze(1)).view(-1)
    codes = torch.zeros_like(unit, dtype=torch.uint8)
    for bound in _bounds():
        codes += unit > bound
    return (codes[::2] << 4) | codes[1::2], scales


@cache
def _bounds() -> tuple[float, ...]:
    """The middles between the sixteen values."""
    values = _functional().get_4bit_type("nf4", device="cpu")
    return tuple(((values[:-1] + values[1:]) / 2).tolist())


def decode(codes: torch.Tensor, scales: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """What codes and scales stand for, (rows, columns) float32, for a matrix of any width."""
    pairs = torch.stack([codes.view(-1) >> 4, codes.view(-1) & 15], 1).view(-1).long()
    values = _functional().get_4bit_type("nf4", device="cpu")[pairs]
    return (values * scales.repeat_interleave(BLOCK)[: len(values)])[: rows * columns].view(rows, columns)


def can_multiply(columns: int) -> bool:
    """Whether a product with rows of this length is right: bitsandbytes 0.50 on a CPU takes wrong scales, without a word, where a block reaches into the next row."""
    return columns % BLOCK == 0


def is_taken(name: str, module: torch.nn.Module) -> bool:
    """Whether a layer of this name is put into 4 bits: a linear one inside a block, with rows that can be multiplied."""
    return type(module) is torch.nn.Linear and can_multiply(module.in_features) and any(part.isdecimal() for part in name.split("."))


def _functional() -> Any:
    # Only where somebody wants it: it may not be installed.
    return import_module("bitsandbytes.functional")
