"""One encoded image as an array: any kind of file as 8-bit RGB, upright, resized and cropped by one rule, or why not.

Pixels that an image says are transparent keep their colour: the alpha channel is dropped, as Pillow's own conversion
does, so a picture cut out on transparent ground shows the colour that its file holds there, often black or white.
"""

import threading
from contextlib import AbstractContextManager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from ablation.kinds import kind_of
from ablation.listing import Unreadable
from ablation.wholeness import check_tiff, check_whole, webp_size

MOST_PIXELS = 100_000_000  # of one image
_LARGE = 16_000_000  # pixels from which on images are decoded one at a time, so that threads do not add up
_LONG = 64  # times as long as wide: from here on the centre is cut out before it is resized
_one_large = threading.Lock()


class _OwnRules(AbstractContextManager[None]):
    """Pillow's global switches as this module means them, whoever set them otherwise, while any thread decodes."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._before: tuple[bool, int | None] = False, None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
                ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, None
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = self._before


_own_rules = _OwnRules()


def decode_image(content: bytes, size: int) -> np.ndarray:
    """The image in a file's content as RGB (size, size, 3) uint8: shorter side resized, centre cropped.

    The content decides of which kind it is, never a name. Grey, palette, CMYK and 16-bit images are converted, the
    orientation in EXIF is applied, transparency is dropped, and of an animation the first picture is taken.

    Raises:  Unreadable: it is no image, a damaged one, one that is not all there, or one that is too large.
    """
    kind = kind_of(content)
    content = check_whole(kind, content)
    if kind == "WEBP":
        _refuse_bomb(webp_size(content))
    try:
        with _own_rules, Image.open(BytesIO(content), formats=_formats(kind)) as image:
            pixels = _refuse_bomb(image.size)
            if kind == "TIFF":
                check_tiff(image.tag_v2, content)  # type: ignore[attr-defined]
            with _one_large if pixels > _LARGE else nullcontext():
                image.load()
                return np.asarray(fit(_upright(_to_rgb(image), _orientation(image)), size))
    except Unreadable:
        raise
    except Exception as error:  # Pillow's plugins raise whatever their parsers meet, struct.error and KeyError included
        raise Unreadable(_reason(kind, error)) from error


def header_of(source: Path | bytes) -> tuple[int, int, str]:
    """Width, height and Pillow's mode of the image in a file, or of encoded bytes, by its header alone.

    Raises:  Unreadable: it is no image.
    """
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
            return image.width, image.height, image.mode
    except Exception as error:  # whatever a damaged header makes Pillow raise
        raise Unreadable(str(error)) from error


def fit(image: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side to `size` and cut the centre out of the longer."""
    if image.size == (size, size):
        return image
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    if max(width, height) > _LONG * size:  # resized as a whole, a line of pixels would fill the memory
        across, down = image.width / width, image.height / height
        return _resized_part(image, (left * across, top * down, (left + size) * across, (top + size) * down), size)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


def _resized_part(image: Image.Image, box: tuple[float, float, float, float], size: int) -> Image.Image:
    """The part of an image in a box, as size x size; cut out with a margin first, as Pillow's boxes are inexact."""
    margin = 3 + int(max(box[2] - box[0], box[3] - box[1]) / size)  # bilinear weights reach one pixel of the result far
    left, top = (max(0, int(edge) - margin) for edge in box[:2])
    right, bottom = (min(int(edge) + margin, end) for edge, end in zip(box[2:], image.size, strict=True))
    part = image.crop((left, top, right, bottom))
    inside = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    return part.resize((size, size), Image.Resampling.BILINEAR, box=inside)


def _formats(kind: str) -> list[str]:
    Image.init()
    if kind not in Image.OPEN:
        raise Unreadable(f"{kind} images cannot be read by the Pillow that is installed, update it")
    return [kind]


def _refuse_bomb(size: tuple[int, int]) -> int:
    """The number of pixels, known from the header before any is decoded."""
    width, height = size
    if width < 1 or height < 1:
        raise Unreadable(f"damaged: {width} x {height} pixels")
    if width * height > MOST_PIXELS:
        raise Unreadable(f"{width:,} x {height:,} pixels, more than the {MOST_PIXELS // 10**6} million allowed")
    return width * height


def _orientation(image: Image.Image) -> int:
    """What EXIF says of how the image is to be turned, 1 to 8; 1, as it is stored, where EXIF cannot be read."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # parsers of metadata raise as many kinds as those of images
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        words = "floating-point" if image.mode == "F" else "signed or 32-bit"
        raise Unreadable(f"{words} pixels, which have no fixed range: convert it to 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits, also where Pillow holds them in 32
        return Image.fromarray(_eight_bits(image)).convert("RGB")
    if image.mode == "LAB":
        raise Unreadable("Lab colours, which are not supported: convert it to RGB")
    return image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")


_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # tags of TIFF


def _eight_bits(image: Image.Image) -> np.ndarray:
    """16-bit grey, or 12-bit, as uint8: the value divided by 257, so that the largest becomes 255."""
    tags: Any = getattr(image, "tag_v2", {})
    values = np.asarray(image).astype(np.int32)
    if tags.get(_BITS_PER_SAMPLE) == (12,):
        values = values * 65535 // 4095
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero, which Pillow leaves as it is in 16 bits
        values = 65535 - values
    return (values // 257).astype(np.uint8)


def _reason(kind: str, error: Exception) -> str:
    """An error of Pillow in one line without addresses or raw bytes, the same in every run."""
    words = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "more memory needed than there is"
    if "truncated" in words.lower() or isinstance(error, EOFError):
        return "cut off: picture data is missing"
    if isinstance(error, UnidentifiedImageError) or not isinstance(error, OSError):
        return f"damaged: no {kind} structure that can be read"
    plain = 0 < len(words) < 100 and words.isascii() and words.isprintable() and "decoder error" not in words
    return f"damaged: {words}" if plain and "b'" not in words else "damaged: its picture data cannot be decoded"
