"""Prompts to embeddings: chunks of 75 tokens, so that long prompts are read whole, and a small cache."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch

from engine.diffusion.loading import Components

_CACHED_PROMPTS = 64


class PromptEncoder:
    """Embeddings of prompts for one loaded model. A repeated prompt costs no encoder run."""

    def __init__(self, components: Components) -> None:
        self._text_encoder = components.text_encoder
        self._tokenizer = components.tokenizer
        self._device = components.device
        self._cache: OrderedDict[tuple[str, int], torch.Tensor] = OrderedDict()

    def encode(self, prompt: str, negative_prompt: str | None) -> torch.Tensor:
        """(1, 77·k, dim), or (2, 77·k, dim) with the negative prompt first; k is the number of chunks of the longer one."""
        prompts = [prompt] if negative_prompt is None else [negative_prompt, prompt]
        chunks = max(len(self.chunks(text)) for text in prompts)
        return torch.cat([self._embed(text, chunks) for text in prompts])

    def chunks(self, text: str) -> list[list[int]]:
        """Token ids in runs that leave room for the start and end tokens; at least one run, maybe empty."""
        ids = self._tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids
        room = self._tokenizer.model_max_length - 2
        return [ids[i : i + room] for i in range(0, len(ids), room)] or [[]]

    def _embed(self, text: str, chunks: int) -> torch.Tensor:
        key = (text, chunks)
        if (known := self._cache.get(key)) is not None:
            self._cache.move_to_end(key)
            return known
        runs = self.chunks(text)
        runs += [[]] * (chunks - len(runs))
        ids = torch.tensor([self._framed(run) for run in runs], device=self._device)
        states = self._text_encoder(ids, attention_mask=None).last_hidden_state
        embeds = states.reshape(1, -1, states.shape[-1])
        self._cache[key] = embeds
        if len(self._cache) > _CACHED_PROMPTS:
            self._cache.popitem(last=False)
        return embeds

    def _framed(self, run: list[int]) -> list[int]:
        tokenizer: Any = self._tokenizer
        padding = [tokenizer.pad_token_id] * (tokenizer.model_max_length - 2 - len(run))
        return [tokenizer.bos_token_id, *run, tokenizer.eos_token_id, *padding]
