"""The families of latent diffusion models: one row each."""

from engine.diffusion.families.family import Family
from engine.diffusion.families.sd1 import SD1

FAMILIES: dict[str, Family] = {family.key: family for family in (SD1,)}

__all__ = ["FAMILIES", "Family"]
