"""The families of latent diffusion models: one file and one row each."""

from engine.diffusion.families.family import Denoiser, Family, LoraReader
from engine.diffusion.families.flux1 import FLUX1
from engine.diffusion.families.flux2 import FLUX2
from engine.diffusion.families.qwen import QWEN
from engine.diffusion.families.sd1 import SD1
from engine.diffusion.families.sd3 import SD3
from engine.diffusion.families.sdxl import SDXL
from engine.diffusion.families.zimage import ZIMAGE

FAMILIES: dict[str, Family] = {family.key: family for family in (SD1, SDXL, SD3, FLUX1, FLUX2, ZIMAGE, QWEN)}

__all__ = ["FAMILIES", "Denoiser", "Family", "LoraReader"]
