"""The typed endpoints `/txt2img`, `/img2img`, `/edit`, `/inpaint` and `/upscale`: the page's bounds, the page's words, progress as it comes."""

from ui.api.endpoints import add_api

__all__ = ["add_api"]
