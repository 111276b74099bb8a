"""Stable Diffusion 1.x and everything in its layout, the starter included (Rombach et al. 2022)."""

from engine.diffusion.families.family import Family

SD1 = Family(
    key="sd1",
    title="Stable Diffusion 1.x",
    components={
        "tokenizer": frozenset({"CLIPTokenizer"}),
        "text_encoder": frozenset({"CLIPTextModel"}),
        "unet": frozenset({"UNet2DConditionModel"}),
        "vae": frozenset({"AutoencoderKL", "AutoencoderTiny"}),
        "scheduler": frozenset(
            {
                "DDIMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler",
                "EulerAncestralDiscreteScheduler", "DDPMScheduler", "LMSDiscreteScheduler", "UniPCMultistepScheduler",
            }
        ),
    },
    # A least-squares fit that is widely used for the 4-channel autoencoder of SD 1.x.
    preview_matrix=((0.35, 0.23, 0.32), (0.33, 0.50, 0.54), (-0.28, 0.18, 0.27), (-0.21, -0.26, -0.72)),
    preview_bias=(0.0, 0.0, 0.0),
)  # fmt: skip
