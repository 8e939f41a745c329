"""Whether all of an image's content is there, by the structure of its kind.

Pillow reads on where a part is missing: it fills up the picture in silence. Here each kind's own structure is
followed to its end, by header and length alone wherever the format allows it.

What no structure can tell stays unseen: a byte flipped inside the compressed picture of a JPEG or WebP (they have no
checksums), and zero bytes at the end of a BMP, TIFF, Netpbm or lossless WebP picture, which are pixels of one colour
unless they begin where a page of the disk does.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

from ablation.jpeg import NO_END, ZEROS, whole_jpeg
from ablation.listing import Unreadable

_PAGE = 4096
_LZW_MOST = 4 << 20  # bytes of a GIF's first picture up to which its pixels are counted, in Python


def check_whole(kind: str, content: bytes) -> bytes:
    """Follow the content's structure to its end; returns what Pillow is to decode.

    Raises:  Unreadable: a part is missing, or does not have the checksum that is stored with it.
    """
    check = _CHECKS.get(kind)
    return content if check is None else check(content) or content


def _whole_png(content: bytes) -> None:
    """Every chunk with its checksum up to the end chunk, and as many bytes unpacked as the header promises."""
    view, place, header = memoryview(content), 8, b""
    unpacker, unpacked = zlib.decompressobj(), 0
    while place + 12 <= len(content):
        name = content[place + 4 : place + 8]
        data, place = view[place + 8 :], place + 12 + int.from_bytes(content[place : place + 4], "big")
        if place > len(content):
            break
        data = data[: place - 4 - (len(content) - len(data))]
        if zlib.crc32(data, zlib.crc32(name)) != int.from_bytes(content[place - 4 : place], "big"):
            part = name.decode() if name.isalpha() else "unknown"
            raise Unreadable(f"damaged: wrong checksum of its {part} part")
        if name == b"IHDR":
            header = bytes(data)
        if name == b"IDAT" and unpacked < _png_bytes(header):
            unpacked += _unpacked(unpacker, data, _png_bytes(header) - unpacked)
        if name == b"IEND":
            if unpacked < _png_bytes(header):
                raise Unreadable("cut off: its picture has fewer rows than its header says")
            return
    raise Unreadable(NO_END)


def _png_bytes(header: bytes) -> int:
    """The unpacked bytes of a PNG's picture: a filter byte and the pixels of every row, of each pass if interlaced."""
    if len(header) != 13 or header[9] not in (0, 2, 3, 4, 6):
        raise Unreadable("damaged: no header that can be read")
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    bits = header[8] * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[header[9]]
    passes = ((0, 0, 1, 1),) if not header[12] else _ADAM7
    total = 0
    for left, top, right, down in passes:
        columns, rows = -(-max(0, width - left) // right), -(-max(0, height - top) // down)
        total += rows * (1 + (columns * bits + 7) // 8) if columns else 0
    return total


_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def _unpacked(unpacker: "zlib._Decompress", data: bytes | memoryview, most: int) -> int:
    """How many bytes a part unpacks to, counted up to `most` and never held at once."""
    count = 0
    try:
        while data and count < most and not unpacker.eof:
            count += len(unpacker.decompress(data, 1 << 20))
            data = unpacker.unconsumed_tail
    except zlib.error:
        raise Unreadable("damaged: its picture data cannot be unpacked") from None
    return count


def _whole_gif(content: bytes) -> None:
    """Blocks up to the trailer, which some writers leave away, and a first picture with all its pixels."""
    place, pictures = 13 + _gif_colours(content[10:11]), 0
    while place < len(content):
        block, place = content[place], place + 1
        if block == 0x3B and pictures:
            return
        if block == 0x2C:
            size = content[place + 4 : place + 8]
            place += 9 + _gif_colours(content[place + 8 : place + 9])
            codes, place = content[place : place + 1], place + 1
            data, place = _gif_data(content, place)
            pictures += 1
            pixels = int.from_bytes(size[:2], "little") * int.from_bytes(size[2:], "little")
            if pictures == 1 and len(data) <= _LZW_MOST and _lzw_pixels(data, codes[0], pixels) < pixels:
                raise Unreadable("cut off: its picture has fewer pixels than its header says")
        elif block == 0x21:
            place = _gif_data(content, place + 1)[1]
        elif block:
            raise Unreadable("damaged: an unknown block")
    if not pictures or place > len(content):
        raise Unreadable(NO_END)


def _gif_colours(flags: bytes) -> int:
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _gif_data(content: bytes, place: int) -> tuple[bytes, int]:
    """The bytes of a chain of blocks and the place behind it."""
    parts = []
    while place < len(content):
        length = content[place]
        parts.append(content[place + 1 : place + 1 + length])
        place += 1 + length
        if not length:
            return b"".join(parts), place
    raise Unreadable(NO_END)


def _lzw_pixels(data: bytes, bits: int, most: int) -> int:
    """How many pixels a GIF's codes stand for, counted up to `most`."""
    if not 1 <= bits <= 11:
        raise Unreadable("damaged: no picture data that can be read")
    clear = 1 << bits
    lengths, width, last, count = [1] * clear + [0, 0], bits + 1, 0, 0
    held, available = 0, 0
    for byte in data:
        held, available = held | byte << available, available + 8
        while available >= width:
            code, held, available = held & ((1 << width) - 1), held >> width, available - width
            if code == clear:
                lengths, width, last = [1] * clear + [0, 0], bits + 1, 0
                continue
            if code == clear + 1 or code > len(lengths) or (code == len(lengths) and not last) or count >= most:
                return count
            length = lengths[code] if code < len(lengths) else last + 1
            if last and len(lengths) < 4096:
                lengths.append(last + 1)
                width += len(lengths) == 1 << width and width < 12
            last, count = length, count + length
    return count


def _whole_webp(content: bytes) -> None:
    """All chunks, as long as they say they are, and no zero bytes where the picture ends."""
    end, place, pictures = 8 + int.from_bytes(content[4:8], "little"), 12, 0
    if end > len(content):
        raise Unreadable(f"cut off: {len(content):,} of {end:,} bytes")
    while place + 8 <= end:
        name, length = content[place : place + 4], int.from_bytes(content[place + 4 : place + 8], "little")
        if place + 8 + length > end:
            raise Unreadable("cut off inside a part")
        pictures += name in (b"VP8 ", b"VP8L", b"ANMF")
        if name == b"VP8 ":
            _refuse_zero_tail(content[place + 8 : place + 8 + length])
        place += 8 + length + length % 2
    if not pictures:
        raise Unreadable("damaged: no picture in it")
    _refuse_zero_pages(content)


def _refuse_zero_tail(data: bytes) -> None:
    if len(data) - len(data.rstrip(b"\0")) >= ZEROS:
        raise Unreadable("damaged: its picture data ends in zero bytes")


def _whole_avif(content: bytes) -> None:
    """All boxes of the outermost level, as long as they say they are."""
    place = 0
    while place < len(content):
        length, name = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        if length == 1:
            length = int.from_bytes(content[place + 8 : place + 16], "big")
        if length == 0:  # up to the end
            length = len(content) - place
        if not name.strip(b"\0") and place:  # padding
            break
        if length < 8 or place + length > len(content):
            raise Unreadable("cut off inside a part")
        if name == b"mdat":
            _refuse_zero_tail(content[place + 8 : place + length])
        place += length


def _whole_bmp(content: bytes) -> None:
    """All bytes that a run-length coded one says it has; Pillow itself knows how many the others must have."""
    _refuse_zero_pages(content)
    packed = int.from_bytes(content[30:34], "little") in (1, 2)
    end = int.from_bytes(content[2:6], "little")
    if packed and len(content) < end:
        raise Unreadable(f"cut off: {len(content):,} of {end:,} bytes")


def _refuse_zero_pages(content: bytes) -> None:
    """A power cut leaves whole pages of zero bytes at the end; a picture's black end begins where it likes."""
    end = len(content.rstrip(b"\0"))
    if end % _PAGE == 0 and len(content) - end >= _PAGE:
        raise Unreadable(f"damaged: zero bytes from byte {end:,} to its end")


_CHECKS: dict[str, Callable[[bytes], bytes | None]] = {
    "JPEG": whole_jpeg,
    "PNG": _whole_png,
    "GIF": _whole_gif,
    "WEBP": _whole_webp,
    "AVIF": _whole_avif,
    "BMP": _whole_bmp,
    "PPM": _refuse_zero_pages,
    "TIFF": _refuse_zero_pages,
}


def webp_size(content: bytes) -> tuple[int, int]:
    """Width and height in a WebP's header: Pillow needs the memory for them as soon as it opens one."""
    name, data = content[12:16], content[20:30]
    if name == b"VP8X":
        return 1 + int.from_bytes(data[4:7], "little"), 1 + int.from_bytes(data[7:10], "little")
    if name == b"VP8L":
        both = int.from_bytes(data[1:5], "little")
        return 1 + (both & 0x3FFF), 1 + (both >> 14 & 0x3FFF)
    return int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF


_OFFSETS_AND_COUNTS = ((273, 279), (324, 325))  # of strips and of tiles
_COMPRESSION, _OLD_JPEG, _DEFLATE = 259, 513, (8, 32946)


def check_tiff(tags: Mapping[int, Any], content: bytes) -> None:
    """Every strip or tile of a TIFF's first picture must lie inside the file and, deflated, have its checksum.

    Raises:  Unreadable: one does not.
    """
    found = False
    for offsets, counts in _OFFSETS_AND_COUNTS:
        for start, size in zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False):
            found = True
            if start + size > len(content):
                raise Unreadable("cut off: picture data is missing")
            unpacker = zlib.decompressobj()
            if tags.get(_COMPRESSION) in _DEFLATE:
                _unpacked(unpacker, content[start : start + size], 1 << 40)
                if not unpacker.eof:
                    raise Unreadable("damaged: its picture data cannot be unpacked")
    if not found and _OLD_JPEG not in tags:
        raise Unreadable("damaged: no picture in it")
