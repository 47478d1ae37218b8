"""Images made on the spot, as arrays and as files."""

import io

import numpy as np
from PIL import Image


def encode(pixels: np.ndarray, kind: str = "JPEG", mode: str | None = None, **options) -> bytes:
    image = Image.fromarray(pixels)
    content = io.BytesIO()
    (image.convert(mode) if mode else image).save(content, kind, **options)
    return content.getvalue()


def noise(width: int, height: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    """uint8 [height, width(, channels)], smooth enough for JPEG."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 4 + 2, width // 4 + 2, channels), np.uint8)
    image = Image.fromarray(coarse.squeeze() if channels == 1 else coarse)
    return np.asarray(image.resize((width, height)))
