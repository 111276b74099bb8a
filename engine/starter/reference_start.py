"""Where the starter's IP-Adapter begins: its image tokens are what the text encoder would have said of the picture."""

from __future__ import annotations

from typing import Any

import torch

from engine.starter.attributes import SceneLabels
from engine.starter.evaluate import full_caption
from engine.starter.text_encoder import tokenize

# Positions in the states of a full caption that together tell the denoiser nearly what all 77 do: its end, far behind it,
# the subject and the style. Counted from the front, or back from the end token.
_FROM_FRONT, _FROM_END = (60, 3), (0, 3)
TOKENS = len(_FROM_FRONT) + len(_FROM_END)
_RIDGE = 1.0
_BLOCK = 64


def fresh_state(unet: Any, projection: torch.Tensor, scale: float) -> dict[str, dict[str, torch.Tensor]]:
    """diffusers' two tables of an adapter whose tokens come from `projection` (TOKENS · width, D): keys and values begin as those for words.

    There is no bias: a picture of zeros, which the unconditional half is shown, adds exactly nothing.
    """
    width = int(unet.config.cross_attention_dim)
    first = {
        "proj.weight": projection.clone(),
        "proj.bias": torch.zeros(len(projection)),
        "norm.weight": torch.full((width,), scale),
        "norm.bias": torch.zeros(width),
    }
    own: dict[str, torch.Tensor] = {}
    for number, name in enumerate(name for name in unet.attn_processors if "attn2" in name):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        own[f"{2 * number + 1}.to_k_ip.weight"] = attention.to_k.weight.detach().float().clone()
        own[f"{2 * number + 1}.to_v_ip.weight"] = attention.to_v.weight.detach().float().clone()
    return {"image_proj": first, "ip_adapter": own}


def fit_projection(embeds: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Ridge regression from (N, D) embeddings to (N, TOKENS, width) tokens → the map (TOKENS · width, D), and how large its tokens are."""
    gram = embeds.T @ embeds + _RIDGE * torch.eye(embeds.shape[1])
    projection = torch.linalg.solve(gram, embeds.T @ tokens.flatten(1)).T.contiguous()
    fitted = (embeds @ projection.T).view(tokens.shape)
    return projection, float(fitted.std(-1).mean())


def spoken_tokens(text_encoder: Any, tokenizer: Any, labels: list[SceneLabels]) -> torch.Tensor:
    """(N, TOKENS, width) float32: what the text encoder says of each scene, less what it says of no words at all.

    An adapter adds to what the words give: with no words said the sum is then what all words would have given. Keys do not
    mind, for a shift that all of them share leaves a softmax as it is.
    """
    silence = _states(text_encoder, tokenizer, [""])[0][0, 1:].mean(0)
    made: list[torch.Tensor] = []
    for start in range(0, len(labels), _BLOCK):
        states, ends = _states(text_encoder, tokenizer, [full_caption(one) for one in labels[start : start + _BLOCK]])
        at = torch.stack([ends, torch.full_like(ends, _FROM_FRONT[0]), torch.full_like(ends, _FROM_FRONT[1]), ends - _FROM_END[1]], dim=1)
        made.append(states[torch.arange(len(states))[:, None], at])
    return torch.cat(made) - silence


@torch.no_grad()
def _states(text_encoder: Any, tokenizer: Any, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, 77, width) states, (B) positions of the end token."""
    ids = tokenize(tokenizer, texts)
    ends = torch.eq(ids, tokenizer.eos_token_id).int().argmax(1)
    return text_encoder(ids).last_hidden_state.float(), ends
