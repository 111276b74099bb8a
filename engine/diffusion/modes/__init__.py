"""One module per mode: how a recipe becomes a walk through the denoising loop."""
