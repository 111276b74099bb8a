"""The bundled small model: the scenes it learns from, its training, its evaluation."""
