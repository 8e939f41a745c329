"""Whether all of a JPEG is there: it has no checksums, and decoders make up in silence what is missing."""

import re

from ablation.listing import Unreadable

ZEROS = 32  # zero bytes in a row that no coder of pictures writes, short of a flat image (looked at where it can be)
_MARKER = re.compile(rb"\xff+([^\0\xff])", re.DOTALL)
_SCAN_END = re.compile(rb"\xff+[^\0\xff\xd0-\xd7]", re.DOTALL)
_RUN = bytes(ZEROS)
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
NO_END = "cut off: no end marker"
_PLAIN = (0xC0, 0xC1)  # what begins the frame of a JPEG whose one scan has all of its picture
_AHEAD = b"\xaa" * 8  # as much as a decoder may read ahead; bits that stand for little, so that they make up for little


def whole_jpeg(content: bytes) -> bytes | None:
    """Segments by their length, each scan to the next marker, and the end marker behind the last scan.

    A decoder that meets the end marker too early makes the rest up. Without the marker it asks for more, so that of
    a picture in one scan all is returned but the marker.
    Raises:  Unreadable: the file ends too early, or a part of it cannot be.
    """
    place, scans, plain, restarts, flat = 2, 0, False, False, _FlatScans()
    while (found := _MARKER.search(content, place)) is not None:
        marker, place = found[1][0], found.end()
        if marker == 0xD9:
            if not scans:
                raise Unreadable("damaged: no picture before its end marker")
            return content[: found.start()] + _AHEAD if plain and scans == 1 else None
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:
            continue
        length = int.from_bytes(content[place : place + 2], "big")
        segment, place = content[place + 2 : place + length], place + length
        if length < 2 or place > len(content):
            raise Unreadable("cut off inside its header" if not scans else NO_END)
        plain, restarts = plain or marker in _PLAIN, restarts or marker == 0xDD
        if marker == 0xC4:
            flat.learn(segment)
        if marker == 0xDA:
            scans += 1
            end = _SCAN_END.search(content, place)
            if end is None:
                raise Unreadable(NO_END)
            _check_scan(content[place : end.start()], restarts)
            if content.find(_RUN, place, end.start()) >= 0 and not flat.possible(segment):
                raise Unreadable("damaged: a part of its picture data is zero bytes")
            place = end.start()
    raise Unreadable(NO_END)


def _check_scan(data: bytes, restarts: bool) -> None:
    """The restart markers count up from 0 to 7 and again."""
    if restarts and any(found[0] - 0xD0 != number % 8 for number, found in enumerate(_RESTART.findall(data))):
        raise Unreadable("damaged: a part of its picture data is missing")


class _FlatScans:
    """Whether zero bytes in a JPEG's scan can be an area of one colour: by what the code of all zeros stands for."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}  # class and number of a Huffman table -> its first symbol

    def learn(self, segment: bytes) -> None:
        """Read a segment of Huffman tables: number, 16 counts of codes, symbols in the order of their codes."""
        place = 0
        while place + 17 < len(segment):
            self._first[segment[place]] = segment[place + 17]
            place += 17 + sum(segment[place + 1 : place + 17])

    def possible(self, header: bytes) -> bool:
        """Whether in a scan with this header a run of zero bits says: the same colour again, or nothing new."""
        if not header or len(header) < 4 + 2 * header[0] or not self._first:
            return True  # arithmetic coding, or no header that can be judged
        tables = [header[2 + 2 * component] for component in range(header[0])]
        first, last, refines = header[-3], header[-2], header[-1] >> 4
        same = all(self._first.get(table >> 4, 0) == 0 for table in tables) if first == 0 else True
        nothing = all(self._first.get(0x10 | table & 15, 0) & 15 == 0 for table in tables) if last > 0 else True
        return bool(refines) or (same and nothing)
