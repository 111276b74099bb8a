"""Which classes the parts of a model may have, by family: what `model_index.json` may name. Known without torch, so that a model is judged before it is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

KL = frozenset({"AutoencoderKL", "AutoencoderTiny"})
FLOW_SCHEDULERS = frozenset({"FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"})
# Only what such a scheduler says of the noise is read; the sampler is always one of our own.
SCHEDULERS = frozenset(
    {
        "DDIMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler",
        "DDPMScheduler", "LMSDiscreteScheduler", "UniPCMultistepScheduler", "LCMScheduler", "DEISMultistepScheduler", "HeunDiscreteScheduler",
        "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "DPMSolverSinglestepScheduler", "DPMSolverSDEScheduler", "TCDScheduler",
    }
)  # fmt: skip
_CLIP = frozenset({"CLIPTokenizer"})
_T5 = frozenset({"T5Tokenizer", "T5TokenizerFast"})
_QWEN = frozenset({"Qwen2Tokenizer", "Qwen2TokenizerFast"})


@dataclass(frozen=True)
class Parts:
    """`classes` maps a name in `model_index.json` to the class names that are accepted there; those in `optional` may be missing."""

    classes: Mapping[str, frozenset[str]]
    optional: frozenset[str] = frozenset()


PARTS: dict[str, Parts] = {
    "sd1": Parts(
        {
            "tokenizer": _CLIP, "text_encoder": frozenset({"CLIPTextModel"}), "unet": frozenset({"UNet2DConditionModel"}), "vae": KL,
            "scheduler": SCHEDULERS,
        }
    ),
    "sdxl": Parts(
        {
            "tokenizer": _CLIP, "tokenizer_2": _CLIP, "text_encoder": frozenset({"CLIPTextModel"}),
            "text_encoder_2": frozenset({"CLIPTextModelWithProjection"}), "unet": frozenset({"UNet2DConditionModel"}), "vae": KL,
            "scheduler": SCHEDULERS,
        }
    ),
    "sd3": Parts(
        {
            "tokenizer": _CLIP, "tokenizer_2": _CLIP, "tokenizer_3": _T5, "text_encoder": frozenset({"CLIPTextModelWithProjection"}),
            "text_encoder_2": frozenset({"CLIPTextModelWithProjection"}), "text_encoder_3": frozenset({"T5EncoderModel"}),
            "transformer": frozenset({"SD3Transformer2DModel"}), "vae": KL, "scheduler": FLOW_SCHEDULERS,
        },
        optional=frozenset({"tokenizer_3", "text_encoder_3"}),
    ),
    "flux1": Parts(
        {
            "tokenizer": _CLIP, "tokenizer_2": _T5, "text_encoder": frozenset({"CLIPTextModel"}), "text_encoder_2": frozenset({"T5EncoderModel"}),
            "transformer": frozenset({"FluxTransformer2DModel"}), "vae": KL, "scheduler": FLOW_SCHEDULERS,
        }
    ),
    "flux2": Parts(
        {
            "tokenizer": _QWEN, "text_encoder": frozenset({"Qwen3ForCausalLM"}), "transformer": frozenset({"Flux2Transformer2DModel"}),
            "vae": frozenset({"AutoencoderKLFlux2"}), "scheduler": FLOW_SCHEDULERS,
        }
    ),
    "zimage": Parts(
        {
            "tokenizer": _QWEN, "text_encoder": frozenset({"Qwen3Model", "Qwen3ForCausalLM"}), "transformer": frozenset({"ZImageTransformer2DModel"}),
            "vae": KL, "scheduler": FLOW_SCHEDULERS,
        }
    ),
    "qwen": Parts(
        {
            "tokenizer": _QWEN, "processor": frozenset({"Qwen2VLProcessor"}), "text_encoder": frozenset({"Qwen2_5_VLForConditionalGeneration"}),
            "transformer": frozenset({"QwenImageTransformer2DModel"}), "vae": frozenset({"AutoencoderKLQwenImage"}), "scheduler": FLOW_SCHEDULERS,
        },
        # What an editor sees its pictures with.
        optional=frozenset({"processor"}),
    ),
}  # fmt: skip
