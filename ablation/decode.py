"""One encoded image as an array: any kind of file as 8-bit RGB, resized and cropped by one rule, or why not."""

from io import BytesIO

import numpy as np
from PIL import Image

from ablation.listing import Unreadable


def decode_image(content: bytes, size: int) -> np.ndarray:
    """The image in a file's content as RGB (size, size, 3) uint8: shorter side resized, centre cropped.

    Grey, palette, CMYK and 16-bit images are converted; transparency is dropped.

    Raises:  Unreadable: it is no image, or a damaged one.
    """
    try:
        with Image.open(BytesIO(content)) as image:
            image.load()
            return np.asarray(fit(_to_rgb(image), size))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Unreadable(str(error)) from error


def fit(image: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side to `size` and cut the centre out of the longer."""
    if image.size == (size, size):
        return image
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, also where Pillow holds them in 32
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
    return image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
