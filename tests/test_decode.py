"""How each kind of image becomes RGB, and that nothing that is damaged, cut off or no image at all is taken for one."""

import io
import json
import os
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from ablation import content as content_module
from ablation import decode as decode_module
from ablation.content import digest_content, read_content
from ablation.decode import decode_image as decode_content
from ablation.listing import Unreadable
from ablation.wholeness import check_tiff

RED, GREEN, BLUE = (200, 10, 20), (10, 200, 20), (10, 20, 200)
KINDS = ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm")
KINDS += ("avif",) if "AVIF" in Image.registered_extensions().values() else ()


def decode_image(path: Path, size: int) -> np.ndarray | None:
    """A file's image, or None where there is none."""
    try:
        return decode_content(path.read_bytes(), size)
    except Unreadable:
        return None


def encoded(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    """The content of a file."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def why_not(content: bytes) -> str:
    """The reason for which there is no image in a content."""
    with pytest.raises(Unreadable) as refused:
        decode_content(content, 16)
    reason = str(refused.value)
    assert reason == " ".join(reason.split())
    assert "0x" not in reason
    assert len(reason) < 150
    return reason


def noise(height: int = 20, width: int = 30, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png_part(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, bits: int, colours: int, rows: bytes, *parts: bytes, interlaced: int = 0) -> bytes:
    """A PNG written by hand: rows with a filter byte each."""
    header = png_part(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, interlaced))
    end = png_part(b"IDAT", zlib.compress(rows)) + png_part(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(parts) + end


def tiff(pixels: np.ndarray, order: str, bits: int, *, photometric: int = 1, form: int = 1) -> bytes:
    """A grey TIFF written by hand, one strip behind its directory: order < or >, form 1 unsigned, 2 signed, 3 float."""
    height, width = pixels.shape
    data = pixels.tobytes()
    tags = (
        (256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
        (273, 4, 8 + 2 + 10 * 12 + 4), (277, 3, 1), (278, 3, height), (279, 4, len(data)), (339, 3, form),
    )  # fmt: skip
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, 1)
        + (struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value))
        for tag, kind, value in tags
    )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return head + struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0) + data


# How each kind is decoded


@pytest.mark.parametrize(
    ("mode", "value", "wanted"),
    [
        ("L", 77, (77, 77, 77)),
        ("LA", (77, 0), (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (*RED, 0), RED),
        ("RGBA", (*RED, 128), RED),
        ("RGB", GREEN, GREEN),
        ("I;16", 257 * 77, (77, 77, 77)),
        ("I;16", 65535, (255, 255, 255)),
    ],
)
def test_every_colour_mode_of_a_png_becomes_8_bit_rgb(
    mode: str, value: int | tuple[int, ...], wanted: tuple[int, ...], tmp_path: Path
) -> None:
    Image.new(mode, (8, 8), value).save(tmp_path / "x.png")
    pixels = decode_image(tmp_path / "x.png", 8)
    assert pixels is not None
    assert (pixels.dtype, pixels.shape) == (np.uint8, (8, 8, 3))
    assert (pixels == wanted).all()


def test_16_bits_are_scaled_to_8_and_not_cut_off(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "x.png")
    pixels = decode_image(tmp_path / "x.png", 8)
    assert pixels is not None
    assert (pixels == (values // 257)[..., None]).all()
    assert (pixels.min(), pixels.max()) == (0, 255)


@pytest.mark.parametrize("transparency", [None, 0, bytes([0, 128])])
def test_a_palette_becomes_its_colours_with_or_without_transparency(
    transparency: int | bytes | None, tmp_path: Path
) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([*RED, *BLUE])
    image.paste(1, (0, 0, 8, 4))
    options = {} if transparency is None else {"transparency": transparency}
    image.save(tmp_path / "x.png", **options)
    pixels = decode_image(tmp_path / "x.png", 8)
    assert pixels is not None
    assert (pixels[:4] == BLUE).all()
    assert (pixels[4:] == RED).all()


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "x.tif")
    pixels = decode_image(tmp_path / "x.tif", 8)
    assert pixels is not None
    assert (pixels == (255, 0, 0)).all()


def gradient(width: int, height: int, axis: int) -> np.ndarray:
    """Brightness equal to the position along an axis."""
    line = np.arange(height if axis == 0 else width, dtype=np.uint8)
    grey = np.broadcast_to(line[:, None] if axis == 0 else line[None, :], (height, width))
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.mark.parametrize(
    ("width", "height", "left", "top"),
    [(40, 16, 12, 0), (16, 40, 0, 12), (16, 16, 0, 0), (17, 16, 0, 0), (16, 19, 0, 1)],
)
def test_the_centre_is_cut_out_when_only_the_longer_side_is_too_long(
    width: int, height: int, left: int, top: int, tmp_path: Path
) -> None:
    for axis, start in ((0, top), (1, left)):
        Image.fromarray(gradient(width, height, axis)).save(tmp_path / "x.png")
        pixels = decode_image(tmp_path / "x.png", 16)
        assert pixels is not None
        assert (pixels == gradient(width, height, axis)[top : top + 16, left : left + 16]).all()
        assert pixels[0, 0, 0] == start


@pytest.mark.parametrize(("width", "height"), [(200, 80), (80, 200), (99, 61), (10, 25), (16, 5), (1, 1), (250, 1)])
def test_the_shorter_side_is_resized_and_the_centre_kept(width: int, height: int, tmp_path: Path) -> None:
    size, scale = 16, 16 / min(width, height)
    for axis, length in ((0, height), (1, width)):
        Image.fromarray(gradient(width, height, axis)).save(tmp_path / "x.png")
        pixels = decode_image(tmp_path / "x.png", size)
        assert pixels is not None
        assert pixels.shape == (size, size, 3)
        line = pixels[..., 0].mean(axis=1 - axis)
        # The brightness at the middle is the middle position, and a step is 1 / scale.
        assert abs(line.mean() - (length - 1) / 2) <= 0.5 / scale + 0.6
        inner = np.diff(line)[2:-2]
        assert np.abs(inner - 1 / scale).max() <= 1.01 if length > 8 else True


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n", b"not an image", b"GIF89a\x00\x00\x00\x00\x00\x00\x00", b"\xff\xd8\xff"]
)
def test_a_file_that_is_no_image_is_not_decoded(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(content)
    assert decode_image(tmp_path / "x.png", 8) is None


@pytest.mark.filterwarnings("ignore")  # Pillow's, of what is odd in a file
@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "tiff", "webp"])
def test_a_file_cut_off_anywhere_gives_an_image_of_the_right_shape_or_none(kind: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole", kind)
    whole = (tmp_path / "whole").read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 40)):
        (tmp_path / "cut").write_bytes(whole[:length])
        pixels = decode_image(tmp_path / "cut", 16)
        assert pixels is None or pixels.shape == (16, 16, 3)


GREY_16 = np.array([[0, 256, 257, 1000], [32896, 40000, 65278, 65535]], np.uint16)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(png(4, 2, 16, 0, b"".join(b"\0" + row.astype(">u2").tobytes() for row in GREY_16)), id="png"),
        pytest.param(tiff(GREY_16.astype("<u2"), "<", 16), id="tiff, little end first"),
        pytest.param(tiff(GREY_16.astype(">u2"), ">", 16), id="tiff, big end first"),
        pytest.param(tiff(65535 - GREY_16.astype("<u2"), "<", 16, photometric=0), id="tiff, white is zero"),
        pytest.param(encoded(Image.fromarray(GREY_16), "tiff", compression="tiff_lzw"), id="tiff, packed"),
        pytest.param(b"P5 4 2 65535\n" + GREY_16.astype(">u2").tobytes(), id="pgm"),
        pytest.param(b"P2 4 2 65535\n" + " ".join(map(str, GREY_16.ravel())).encode() + b"\n", id="plain pgm"),
    ],
)
def test_field_o17_grey_of_16_bits_is_divided_by_257_in_every_kind_of_file(content: bytes) -> None:
    wanted = (GREY_16 // 257).astype(np.uint8)
    assert wanted[1, 0] == 128  # the white of a plain conversion
    # Two rows of four: the size keeps the shorter side, so that the centre is cut out untouched.
    two = decode_content(content, 2)
    assert (two == wanted[:, 1:3, None]).all()


def test_grey_of_12_bits_reaches_from_black_to_white() -> None:
    values = [0, 4095, 2048, 16]
    packed = bytes([values[0] >> 4, (values[0] & 15) << 4 | values[1] >> 8, values[1] & 255])
    packed += bytes([values[2] >> 4, (values[2] & 15) << 4 | values[3] >> 8, values[3] & 255])
    content = tiff(np.frombuffer(packed, np.uint8)[None], "<", 12).replace(
        struct.pack("<HHIHH", 256, 3, 1, 6, 0), struct.pack("<HHIHH", 256, 3, 1, 4, 0)
    )
    with Image.open(io.BytesIO(content)) as image:
        assert np.asarray(image)[0].tolist() == values
    seen = [int(value) for value in decode_module._eight_bits(_loaded(content))[0]]
    assert seen == [value * 65535 // 4095 // 257 for value in values]
    assert seen[:2] == [0, 255]


def _loaded(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


@pytest.mark.parametrize(("colours", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_colour_of_16_bits_keeps_its_upper_byte_and_alpha_is_dropped(colours: int, channels: int) -> None:
    values = np.random.default_rng(1).integers(0, 65536, (8, 8, channels)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    wanted = (values >> 8).astype(np.uint8)
    wanted = wanted[..., :3] if channels > 2 else np.repeat(wanted[..., :1], 3, axis=2)
    assert (decode_content(png(8, 8, 16, colours, rows), 8) == wanted).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tiff(np.ones((8, 8), "<u4"), "<", 32), "signed or 32-bit pixels, which have no fixed range"),
        (tiff(np.ones((8, 8), "<i4"), "<", 32, form=2), "signed or 32-bit pixels, which have no fixed range"),
        (tiff(np.ones((8, 8), "<i2"), "<", 16, form=2), "signed or 32-bit pixels, which have no fixed range"),
        (tiff(np.ones((8, 8), "<f4"), "<", 32, form=3), "floating-point pixels, which have no fixed range"),
        (encoded(Image.new("LAB", (8, 8)), "tiff"), "Lab colours, which are not supported"),
    ],
)
def test_pixels_that_have_no_place_between_black_and_white_are_refused(content: bytes, reason: str) -> None:
    assert why_not(content).startswith(reason)


def test_transparency_is_dropped_and_the_colour_below_it_kept() -> None:
    pixels = np.dstack([noise(16, 16), np.random.default_rng(2).integers(0, 256, (16, 16), dtype=np.uint8)])
    for kind, options in (("png", {}), ("webp", {"lossless": True, "exact": True}), ("tiff", {})):
        assert (decode_content(encoded(pixels, kind, **options), 16) == pixels[..., :3]).all(), kind


def test_cmyk_of_a_jpeg_is_inverted_as_adobe_writes_it() -> None:
    # Full cyan and nothing else; Pillow writes Adobe's marker and inverted values, as Photoshop does.
    content = encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "jpeg", quality=95)
    assert b"Adobe" in content
    assert np.abs(decode_content(content, 16).astype(int) - (0, 255, 255)).max() <= 3


def test_one_bit_is_black_and_white_whichever_of_them_is_zero() -> None:
    pattern = np.random.default_rng(3).integers(0, 2, (16, 16)).astype(bool)
    wanted = np.where(pattern, 255, 0)[..., None].repeat(3, axis=2)
    image = Image.fromarray(pattern)
    for kind, options in (("png", {}), ("tiff", {}), ("tiff", {"compression": "group4"}), ("bmp", {}), ("ppm", {})):
        assert (decode_content(encoded(image, kind, **options), 16) == wanted).all(), (kind, options)
    packed = np.packbits(~pattern, axis=1)
    content = tiff(packed, "<", 1, photometric=0).replace(
        struct.pack("<HHIHH", 256, 3, 1, 2, 0), struct.pack("<HHIHH", 256, 3, 1, 16, 0)
    )
    assert (decode_content(content, 16) == wanted).all()


TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # what EXIF's numbers say, by NumPy's own operations
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels, 1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"),
    [("png", {}), ("tiff", {}), ("tiff", {"compression": "tiff_lzw"}), ("webp", {"lossless": True}), ("jpeg", {})],
)
def test_the_orientation_in_exif_is_applied(kind: str, options: dict[str, Any], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    blocks = noise(2, 2, seed=4).repeat(8, axis=0).repeat(8, axis=1)
    pixels = decode_content(encoded(blocks, kind, exif=exif, **options), 16)
    plain = decode_content(encoded(blocks, kind, **options), 16)
    assert (pixels == TURNED[orientation](plain)).all()
    assert kind == "jpeg" or (plain == blocks).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_grey_of_16_bits_is_applied_too(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    values = np.random.default_rng(5).integers(0, 65536, (16, 16)).astype(np.uint16)
    for kind in ("png", "tiff"):
        seen = decode_content(encoded(Image.fromarray(values), kind, exif=exif), 16)
        assert (seen[..., 0] == TURNED[orientation](values // 257)).all(), kind


def test_exif_that_cannot_be_read_costs_no_image() -> None:
    content = encoded(noise(16, 16), "png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff nonsense")
    assert (decode_content(content, 16) == noise(16, 16)).all()


@pytest.mark.parametrize(("kind", "options"), [("gif", {}), ("webp", {"lossless": True}), ("png", {})])
def test_of_an_animation_the_first_picture_is_taken(kind: str, options: dict[str, Any]) -> None:
    pictures = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN, BLUE)]
    content = encoded(pictures[0], kind, save_all=True, append_images=pictures[1:], **options)
    with Image.open(io.BytesIO(content)) as image:
        assert getattr(image, "n_frames", 1) == 3
    assert (decode_content(content, 16) == RED).all()


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm"])
@pytest.mark.parametrize("name", ["x.png", "x.JPG", "x.jfif", "x.jpe", "x.txt", "x"])
def test_the_content_decides_and_not_the_name(kind: str, name: str, tmp_path: Path) -> None:
    content = encoded(Image.new("RGB", (16, 16), (40, 80, 120)), kind)
    (tmp_path / name).write_bytes(content)
    assert np.abs(decode_content(read_content(tmp_path / name), 16).astype(int) - (40, 80, 120)).max() <= 6


@given(
    width=st.integers(1, 40), height=st.integers(1, 40), kind=st.sampled_from(["png", "bmp", "tiff", "ppm"]),
    mode=st.sampled_from(["RGB", "L", "1", "P", "RGBA", "LA", "CMYK"]), seed=st.integers(0, 99),
)  # fmt: skip
def test_kinds_without_loss_give_one_and_the_same_image(
    width: int, height: int, kind: str, mode: str, seed: int
) -> None:
    image = Image.fromarray(noise(height, width, seed)).convert(mode)
    wanted = np.asarray(decode_module.fit(image.convert("RGB"), 16))
    try:
        content = encoded(image, kind)
    except OSError:  # no such mode in this kind
        return
    assert (decode_content(content, 16) == wanted).all()


@given(width=st.integers(1, 6000), height=st.integers(1, 6000), short=st.integers(1, 90))
def test_the_same_centre_is_cut_out_of_long_images_before_they_are_resized(width: int, height: int, short: int) -> None:
    width, height = (width, short) if width >= height else (short, height)
    image = Image.fromarray(noise(height, width, seed=6))
    seen = np.asarray(decode_module.fit(image, 16))
    scale = 16 / min(width, height)
    wide, tall = (max(16, round(side * scale)) for side in image.size)
    left, top = (wide - 16) // 2, (tall - 16) // 2
    whole = image.resize((wide, tall), Image.Resampling.BILINEAR).crop((left, top, left + 16, top + 16))
    assert np.abs(seen.astype(int) - np.asarray(whole)).max() <= 1


def test_a_line_of_fifty_million_pixels_takes_no_more_memory_than_it_has() -> None:
    line = Image.new("L", (50_000_000, 1), 7)
    line.putpixel((25_000_000, 0), 255)
    for image in (line, line.transpose(Image.Transpose.ROTATE_90)):  # as a whole it would become 3 200 million wide
        seen = np.asarray(decode_module.fit(image, 64))
        assert seen.shape == (64, 64)
        assert (seen.min() < 30, seen.max() > 230) == (True, True)  # from the middle of one pixel to that of the next


# What is no image, or not all there


@pytest.mark.parametrize("kind", KINDS)
def test_field_o12_an_image_that_is_cut_off_anywhere_is_refused(kind: str) -> None:
    whole = encoded(noise(), kind)
    # A BMP has all its pixels without the padding behind its last row, a GIF without its trailer.
    for length in range(len(whole) - {"bmp": 2, "gif": 1}.get(kind, 0)):
        reason = why_not(whole[:length])
        assert length < 60 or reason.startswith(("cut off", "damaged")), (length, reason)


def test_zero_bytes_inside_a_deflated_tiff_are_found() -> None:
    whole = encoded(
        np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8), "tiff", compression="tiff_adobe_deflate"
    )
    for start in range(8, len(whole) - 300, 5):
        changed = whole[:start] + bytes(20) + whole[start + 20 :]
        if changed != whole:
            why_not(changed)


def test_strips_and_tiles_of_a_tiff_must_lie_inside_the_file() -> None:
    check_tiff({273: (8, 58), 279: (50, 42)}, bytes(100))
    for tags in ({273: (8, 58), 279: (50, 43)}, {324: (99,), 325: (2,)}, {273: (8,), 279: (2**32,)}, {}):
        with pytest.raises(Unreadable):
            check_tiff(tags, bytes(100))
    packed = zlib.compress(bytes(range(200)))
    for compression in (8, 32946):
        tags = {259: compression, 273: (0,), 279: (len(packed),)}
        check_tiff(tags, packed)
        with pytest.raises(Unreadable, match="cannot be unpacked"):
            check_tiff(tags | {279: (len(packed) - 1,)}, packed)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "raw"])
def test_a_tiff_that_is_cut_off_is_refused_however_it_is_packed(compression: str) -> None:
    whole = encoded(noise(), "tiff", compression=compression)
    for length in range(0, len(whole), 7):
        why_not(whole[:length])


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"optimize": True}, {"quality": 100}, {"subsampling": 0}]
)
def test_field_o12_a_jpeg_is_whole_up_to_the_end_marker_behind_its_last_scan(options: dict[str, Any]) -> None:
    small = encoded(noise(8, 8), "jpeg")
    whole = encoded(noise(64, 64), "jpeg", exif=b"Exif\0\0" + small, **options)
    wanted = decode_content(whole, 64)
    for rest in (b"\0" * 5000, b"\xff\xd9", small, b"anything"):
        assert (decode_content(whole + rest, 64) == wanted).all()
    for length in (len(whole) - 1, len(whole) - 2, len(whole) * 6 // 10, len(whole) - 40):
        assert why_not(whole[:length]) == "cut off: no end marker"  # the small one's marker is not the file's


@pytest.mark.parametrize(
    "options", [{}, {"optimize": True}, {"quality": 30}, {"subsampling": 0}, {"restart_marker_blocks": 3}]
)
def test_field_o12_a_jpeg_with_too_little_before_its_end_marker_is_refused(options: dict[str, Any]) -> None:
    whole = encoded(noise(64, 64), "jpeg", **options)
    for length in range(700, len(whole) - 20, 37):  # cut off, and an end marker put behind
        why_not(whole[:length].rstrip(b"\xff") + b"\xff\xd9")
    place = whole.index(b"\xff\xc0") + 5  # a header that promises more rows than there are
    why_not(whole[:place] + (96).to_bytes(2, "big") + whole[place + 2 :])


def test_a_jpeg_whose_restart_markers_do_not_count_up_lacks_a_part() -> None:
    whole = encoded(noise(64, 64), "jpeg", restart_marker_blocks=2)
    third, fourth = whole.index(b"\xff\xd2"), whole.index(b"\xff\xd3")
    assert why_not(whole[:third] + whole[fourth:]) == "damaged: a part of its picture data is missing"


def test_a_jpeg_of_several_pictures_gives_its_first() -> None:
    pictures = [Image.fromarray(noise(32, 32, seed)) for seed in range(3)]
    content = encoded(pictures[0], "mpo", save_all=True, append_images=pictures[1:])
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "MPO"
        wanted = np.asarray(image)
    assert (decode_content(content, 32) == wanted).all()


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"quality": 100}, {"subsampling": 0}])
def test_a_part_of_zero_bytes_inside_a_jpeg_is_found(options: dict[str, Any]) -> None:
    whole = encoded(noise(200, 200), "jpeg", **options)
    for start in range(len(whole) // 4, len(whole) - 1000, 1500):
        why_not(whole[:start] + bytes(512) + whole[start + 512 :])


@given(
    width=st.integers(1, 600), height=st.integers(1, 600), colour=st.tuples(*[st.integers(0, 255)] * 3),
    kind=st.sampled_from(["jpeg", "jpeg", *KINDS]), quality=st.integers(1, 100),
    progressive=st.booleans(), optimize=st.booleans(), spot=st.booleans(),
)  # fmt: skip
def test_an_image_of_one_colour_is_not_taken_for_a_damaged_one(
    width: int, height: int, colour: tuple[int, int, int], kind: str, quality: int,
    progressive: bool, optimize: bool, spot: bool,
) -> None:  # fmt: skip
    image = Image.new("RGB", (width, height), colour)
    if spot:
        image.paste(Image.fromarray(noise(8, 8)), (width // 3, height // 3))
    options: dict[str, Any] = {"jpeg": {"quality": quality, "progressive": progressive, "optimize": optimize}}.get(
        kind, {"quality": quality, "lossless": optimize, "method": 0} if kind == "webp" else {}
    )
    assert decode_content(encoded(image, kind, **options), 16).shape == (16, 16, 3)


def test_every_byte_of_a_png_is_under_a_checksum() -> None:
    whole = encoded(noise(8, 8), "png")
    for place in range(8, len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        why_not(bytes(damaged))


@pytest.mark.parametrize("bits_and_colours", [(8, 2), (8, 0), (1, 0), (4, 3), (16, 6)])
@pytest.mark.parametrize("interlaced", [0, 1])
def test_a_png_with_fewer_rows_than_it_says_is_refused(bits_and_colours: tuple[int, int], interlaced: int) -> None:
    bits, colours = bits_and_colours
    row = 1 + (10 * bits * {0: 1, 2: 3, 3: 1, 6: 4}[colours] + 7) // 8
    palette = [png_part(b"PLTE", bytes(48))] if colours == 3 else []
    lines = [(10, 10)]
    if interlaced:  # columns and rows of the seven passes over 10 x 10, counted one by one
        steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
        lines = [(len(range(x, 10, right)), len(range(y, 10, down))) for x, y, right, down in steps]
    samples = {0: 1, 2: 3, 3: 1, 6: 4}[colours]
    full = bytes(sum(rows * (1 + (columns * bits * samples + 7) // 8) for columns, rows in lines))
    assert decode_content(png(10, 10, bits, colours, full, *palette, interlaced=interlaced), 16).shape == (16, 16, 3)
    for short in (full[:-1], full[:row], b""):
        reason = why_not(png(10, 10, bits, colours, short, *palette, interlaced=interlaced))
        assert reason == "cut off: its picture has fewer rows than its header says"


def test_a_gif_without_its_trailer_is_whole_and_one_cut_behind_its_first_picture_not() -> None:
    one, other = (Image.fromarray(noise(16, 16, seed)).quantize(64) for seed in (1, 2))
    wanted = decode_content(encoded(one, "gif"), 16)
    assert (decode_content(encoded(one, "gif")[:-1], 16) == wanted).all()
    several = encoded(one, "gif", save_all=True, append_images=[other])
    assert (decode_content(several[:-1], 16) == wanted).all()
    assert why_not(several[:-2]) == why_not(several[:-100]) == "cut off: no end marker"


def test_a_gif_with_fewer_pixels_than_it_says_is_refused() -> None:
    def gif(height: int) -> bytes:
        tall = encoded(Image.fromarray(noise(height, 16)).convert("P"), "gif")
        return tall[:8] + (16).to_bytes(2, "little") + tall[10:]

    assert decode_content(gif(16), 16).shape == (16, 16, 3)
    half = bytearray(gif(8))
    place = half.index(b"," + bytes(4) + b"\x10\0\x08\0")
    half[place + 7] = 16
    assert why_not(bytes(half)) == "cut off: its picture has fewer pixels than its header says"


@given(height=st.integers(1, 90), width=st.integers(1, 90), colours=st.integers(1, 256), seed=st.integers(0, 99))
def test_all_pixels_of_a_gif_are_counted(height: int, width: int, colours: int, seed: int) -> None:
    indices = np.random.default_rng(seed).integers(0, colours, (height, width), dtype=np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    assert decode_content(encoded(image, "gif"), 16).shape == (16, 16, 3)


@pytest.mark.parametrize("kind", ["bmp", "tiff", "ppm"])
def test_pages_of_zero_bytes_at_the_end_are_found_and_a_black_end_is_not_one(kind: str) -> None:
    pixels = noise(128, 128)
    pixels[70:] = 0
    content = encoded(pixels, kind)
    assert (decode_content(content, 128) == pixels).all()
    full = encoded(noise(128, 128), kind)
    assert why_not(full[:8192] + bytes(len(full) - 8192)) == "damaged: zero bytes from byte 8,192 to its end"


@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("bmp", "tiff", "ppm")])
def test_field_o12_an_image_whose_end_is_zero_bytes_is_refused(kind: str, share: float) -> None:
    whole = encoded(noise(90, 90), kind)
    kept = int(len(whole) * share)
    why_not(whole[:kept] + bytes(len(whole) - kept))


def test_a_switch_of_pillow_that_somebody_turned_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [encoded(noise(), kind) for kind in KINDS]
    whole = [decode_content(content, 16) for content in contents]
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for content, wanted in zip(contents, whole, strict=True):
        assert (decode_content(content, 16) == wanted).all()
        why_not(content[: len(content) * 6 // 10])
        why_not(content[:-30])
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS) == (True, 10)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty, 0 bytes"),
        (bytes(1000), "only zero bytes"),
        (bytes(5000) + b"x", "only zero bytes at its beginning"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "an HTML page, not an image"),
        (b"\xef\xbb\xbf\n  <HTML lang=en>", "an HTML page, not an image"),
        (b'<?xml version="1.0"?>\n<svg width="8"/>', "an SVG drawing, convert it to PNG"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML or HTML document, not an image"),
        (b'{"error": "rate limit"}', "a JSON document, not an image"),
        (b"[1, 2]", "text, not an image"),
        ("ein Bild für später".encode(), "text, not an image"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "a Git LFS pointer, not the image: "),
        (b"\x1f\x8b\x08\0" + bytes(20), "gzip-compressed, unpack it"),
        (b"PK\x03\x04" + bytes(20), "a zip archive, unpack it"),
        (b"%PDF-1.7\n", "a PDF document, not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript file, not an image"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2", "a video or sound file, not an image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC image, convert it to PNG or JPEG"),
        (b"RIFF\x10\0\0\0AVI LIST", "a video or sound file, not an image"),
        (b"\x1a\x45\xdf\xa3\x01", "a video or sound file, not an image"),
        (b"\0\x05\x16\x07\0\x02\0\0Mac OS X", "an AppleDouble file that macOS leaves beside the image, remove it"),
        (b"\x89PNG\r\n\x1a\n", "cut off: no end marker"),
        (b"\x93NUMPY\x01\0", "a NumPy array, not an image"),
        (b"\x80\x04\x95\x10\0\0\0\xff\xfe", "no image of a kind that is known"),
        (bytes(range(1, 200)), "no image of a kind that is known"),
        (b"<\x8a\xf0\x01" + bytes(range(1, 200)), "no image of a kind that is known"),
        (b"<p>Sorry</p>", "an XML or HTML document, not an image"),
    ],
)  # fmt: skip
def test_field_o12_what_is_no_image_is_called_by_its_name(content: bytes, reason: str) -> None:
    assert why_not(content).startswith(reason)


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "socket"])
def test_only_regular_files_are_opened(kind: str, tmp_path: Path) -> None:

    path = tmp_path / "x.jpg"
    listener = socket.socket(socket.AF_UNIX)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        listener.bind(os.path.relpath(path))
    for read in (read_content, digest_content):
        with pytest.raises(Unreadable, match=f"a {kind}, not a file"):
            read(path)
    listener.close()


def test_a_file_larger_than_any_image_is_never_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.jpg"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a hole, which costs no disk
    digest = digest_content(path)
    monkeypatch.setattr(content_module, "MOST_BYTES", 1000)
    path.write_bytes(bytes(1001))
    assert digest != digest_content(path)
    with pytest.raises(Unreadable, match="more than the 0 MiB allowed"):
        read_content(path)
    path.write_bytes(bytes(1000))
    assert len(read_content(path)) == 1000


def test_a_file_that_is_gone_or_forbidden_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    with pytest.raises(Unreadable, match=r"^no such file or directory$"):
        read_content(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").write_bytes(b"x")

    def forbidden(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", forbidden)
    for read in (read_content, digest_content):
        with pytest.raises(Unreadable, match=r"^permission denied$"):
            read(tmp_path / "x.jpg")


BOMBS = {
    "png": png(40_000, 40_000, 8, 0, b""),
    "gif": b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0),
    "bmp": encoded(Image.new("RGB", (8, 8)), "bmp")[:18] + struct.pack("<ii", 40_000, 40_000),
    "tiff": tiff(np.ones((8, 8), "<u2"), "<", 16).replace(
        struct.pack("<HHIHH", 256, 3, 1, 8, 0), struct.pack("<HHIHH", 256, 3, 1, 60_000, 0)
    ).replace(struct.pack("<HHIHH", 257, 3, 1, 8, 0), struct.pack("<HHIHH", 257, 3, 1, 60_000, 0)),
    "ppm": b"P6 40000 40000 255\n" + bytes(range(1, 200)),
    "webp": b"",
    "jpeg": b"",
}  # fmt: skip


def bomb(kind: str) -> bytes:
    """A file whose header says that it has more than a thousand million pixels."""
    if kind == "webp":  # an extended header of 16,384 x 16,384 before a small picture
        small = encoded(Image.new("RGB", (8, 8)), "webp", lossless=True, exif=b"Exif\0\0x")
        assert small[12:16] == b"VP8X"
        return small[:24] + b"\xff\x3f\0\xff\x3f\0" + small[30:]
    if kind == "jpeg":
        small = encoded(Image.new("RGB", (8, 8)), "jpeg")
        place = small.index(b"\xff\xc0") + 5
        return small[:place] + b"\xff\xdc\xff\xdc" + small[place + 4 :]
    if kind == "png":
        return BOMBS["png"]
    if kind == "gif":
        return BOMBS["gif"] + b"\x02\x02\x44\x01\0;"
    if kind == "bmp":
        return BOMBS["bmp"] + encoded(Image.new("RGB", (8, 8)), "bmp")[26:]
    return BOMBS[kind]


MEASURE = """
import json, resource, sys
from ablation.decode import decode_image
from ablation.listing import Unreadable
before, reasons = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, {}
for name in sys.argv[1:]:
    try:
        decode_image(open(name, "rb").read(), 64)
    except Unreadable as error:
        reasons[name] = str(error)
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, reasons]))
"""


def test_a_decompression_bomb_is_refused_by_its_header_and_costs_no_memory(tmp_path: Path) -> None:
    text = png_part(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(400 << 20)))
    contents = {kind: bomb(kind) for kind in BOMBS}
    contents["text"] = png(8, 8, 8, 0, bytes(72), text)
    contents["zip bomb"] = png(8, 8, 8, 0, bytes(400 << 20))  # more packed rows than it says: what it says is read
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURE, *(str(tmp_path / name) for name in contents)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    grown, reasons = json.loads(done.stdout)
    reasons = {Path(name).name: reason for name, reason in reasons.items()}
    for kind in set(BOMBS) - {"png", "gif"}:
        assert "pixels, more than the 100 million allowed" in reasons[kind], kind
    assert reasons.keys() == contents.keys() - {"zip bomb"}
    assert grown < 60 << 10  # kB; the smallest of them would take 400 MB


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), IndexError(), struct.error("bad"), MemoryError(), RecursionError(), OverflowError(), zlib.error()],
)
def test_whatever_pillow_raises_means_that_the_image_cannot_be_read(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", broken)
    assert why_not(encoded(noise(), "bmp"))


def test_an_interruption_is_no_damaged_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Image, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        decode_content(encoded(noise(), "bmp"), 16)
