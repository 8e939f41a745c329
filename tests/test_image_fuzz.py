"""Two thousand damaged images of every kind: each is an image or is refused with a reason, and memory stays flat."""

import io
import json
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SEED, COUNT = 20261127, 2000
TIFF_PACKINGS = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
CLAIMS = (0, 9, 2**16, 2**31, 2**32 - 1)


def _save(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def whole_files() -> list[bytes]:
    """Images of every kind that is read, in the forms that differ in what a decoder has to do."""
    draws = np.random.default_rng(SEED)
    smooth = np.add.outer(np.arange(40), np.arange(48))[..., None] * (1, 2, 1) + draws.integers(0, 40, (40, 48, 3))
    image = Image.fromarray(smooth.astype(np.uint8))
    palette, grey, bits = image.quantize(32), image.convert("L"), image.convert("1")
    deep = Image.fromarray((smooth[..., 0] * 300).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    more: dict[str, Any] = {"save_all": True, "append_images": [image.rotate(90), image.rotate(180)]}
    files = [
        *(
            _save(image, "jpeg", **options)
            for options in ({}, {"progressive": True}, {"optimize": True, "quality": 30})
        ),
        _save(image, "jpeg", exif=exif, comment=b"x" * 50, restart_marker_blocks=2),
        _save(image.convert("CMYK"), "jpeg"),
        _save(grey, "jpeg"),
        *(_save(one, "png", exif=exif) for one in (image, palette, grey, bits, deep, image.convert("RGBA"))),
        _save(image, "png", **more),
        _save(palette, "gif", transparency=3),
        _save(palette, "gif", **more),
        _save(image, "webp", exif=exif),
        _save(image, "webp", lossless=True),
        _save(image, "webp", **more),
        *(_save(one, "bmp") for one in (image, palette, bits)),
        *(
            _save(image, "tiff", compression=name)
            for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
        ),
        _save(bits, "tiff", compression="group4"),
        _save(deep, "tiff"),
        _save(image, "tiff", **more),
        *(_save(one, "ppm") for one in (image, grey, bits, deep)),
        b"P3 2 2 255\n" + b" 1 2 3" * 4 + b"\n",
    ]
    if "AVIF" in Image.registered_extensions().values():
        files += [_save(image, "avif"), _save(image, "avif", exif=exif)]
    return files


def mutated(files: list[bytes], draws: random.Random) -> bytes:
    """A file changed in one to three ways."""
    content = bytearray(draws.choice(files))
    for _ in range(draws.choice((1, 1, 1, 2, 3))):
        way, place = draws.randrange(9), draws.randrange(len(content) + 1)
        length = draws.choice((1, 4, 64, 600))
        if way == 0:
            for _ in range(draws.choice((1, 2, 10))):
                content[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
        elif way == 1:
            del content[max(1, place) :]
        elif way == 2:
            content[place : place + length] = bytes(min(length, len(content) - place))
        elif way == 3:
            other = draws.choice(files)
            content[place:] = other[draws.randrange(len(other)) :]
        elif way == 4:  # the header
            content[draws.randrange(min(len(content), 60))] = draws.choice(
                (0, 1, 0x7F, 0x80, 0xFF, draws.randrange(256))
            )
        elif way == 5:  # a claim of some size
            content[place : place + 4] = struct.pack(
                draws.choice("<>") + "I", draws.choice((0, 9, 2**16, 2**31, 2**32 - 1))
            )
        elif way == 6:
            content[place:place] = draws.randbytes(length)
        elif way == 7:
            del content[place : place + length]
        else:
            content[place:place] = content[place : place + length]
        content = content or bytearray(b"\0")
    return with_checksums(bytes(content)) if draws.random() < 0.5 else bytes(content)


def with_checksums(content: bytes) -> bytes:
    """A PNG's checksums set right, so that a damage gets past them to the decoder; other content as it is."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    done, place = bytearray(content), 8
    while place + 12 <= len(done):
        end = place + 12 + int.from_bytes(done[place : place + 4], "big")
        if end > len(done):
            break
        done[end - 4 : end] = struct.pack(">I", zlib.crc32(done[place + 4 : end - 4]))
        place = end
    return bytes(done)


def decode_all() -> dict[str, Any]:
    """Decode the mutated files one by one; what became of them, and kB of memory held every 500 files."""
    import signal
    import warnings

    from ablation.decode import decode_image
    from ablation.listing import Unreadable

    def hangs(*_: object) -> None:
        raise SystemExit(f"file {number} takes for ever")

    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, hangs)
    files, draws = whole_files(), random.Random(SEED)
    read, reasons, memory = 0, dict[str, int](), list[int]()
    for number in range(COUNT):
        content = mutated(files, draws)
        signal.alarm(60)
        try:
            pixels = decode_image(content, 16)
        except Unreadable as error:
            reasons[str(error)] = reasons.get(str(error), 0) + 1
        else:
            assert (pixels.shape, pixels.dtype) == ((16, 16, 3), np.uint8)
            read += 1
        signal.alarm(0)
        if number % 500 == 499:
            memory.append(int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]))
    return {"read": read, "reasons": reasons, "memory": memory}


CHILD = f"""
import json, sys
sys.path.append({str(Path(__file__).parent)!r})
from {Path(__file__).stem} import decode_all
print(json.dumps(decode_all()))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from /proc")
def test_two_thousand_mutated_files_are_images_or_are_refused_and_memory_stays_flat() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["read"] + sum(found["reasons"].values()) == COUNT
    assert found["read"] > 100  # a flipped pixel is no damage that can be seen
    assert sum(found["reasons"].values()) > 1000
    for reason in found["reasons"]:
        assert reason.isascii()
        assert reason == " ".join(reason.split())
        assert 5 < len(reason) < 120
    assert max(found["memory"]) - found["memory"][0] < 50_000


def test_the_files_are_whole_before_they_are_mutated() -> None:
    from ablation.decode import decode_image

    for content in whole_files():
        assert decode_image(content, 16).shape == (16, 16, 3)
