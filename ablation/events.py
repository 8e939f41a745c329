"""TensorBoard's event files: scalars and hyper-parameters, read from their bytes without TensorBoard.

A file is a sequence of records (length, checksum, content, checksum), each a protocol buffer of type Event. Only the
fields that hold a number or a name are looked at; a record that is cut off, as at the end of a running file, ends it.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_Field = int | bytes  # varints as int; fixed-width numbers, texts and messages as their bytes
# Field numbers of tensorflow's event.proto, summary.proto, tensor.proto and tensorboard's hparams plugin.
_STEP, _SUMMARY, _VALUE = 2, 5, 1
_TAG, _SIMPLE, _TENSOR, _METADATA = 1, 2, 8, 9
_DTYPE, _CONTENT, _FLOATS, _DOUBLES = 1, 4, 5, 6
_PLUGIN, _PLUGIN_NAME, _PLUGIN_CONTENT = 1, 1, 2
_SESSION, _HPARAMS, _KEY, _ENTRY = 3, 1, 1, 2
_NUMBER, _TEXT, _BOOL = 2, 3, 4
_FORMATS = {1: "<f", 2: "<d"}  # DT_FLOAT and DT_DOUBLE


@dataclass
class Events:
    """What one or more files hold: by tag its (step, value) in the order written; hyper-parameters as text by name."""

    scalars: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    hparams: dict[str, str] = field(default_factory=dict)

    def add(self, path: Path) -> None:
        """Read one more file."""
        for record in _records(path.read_bytes()):
            fields = dict(_fields(record))
            step = fields.get(_STEP, 0)
            for number, value in _fields(_bytes(fields.get(_SUMMARY))):
                if number == _VALUE and isinstance(value, bytes):
                    self._add_value(step if isinstance(step, int) else 0, dict(_fields(value)))

    def _add_value(self, step: int, value: dict[int, _Field]) -> None:
        tag = _bytes(value.get(_TAG)).decode(errors="replace")
        plugin = dict(_fields(_bytes(dict(_fields(_bytes(value.get(_METADATA)))).get(_PLUGIN))))
        if _bytes(plugin.get(_PLUGIN_NAME)) == b"hparams":
            self.hparams |= _hparams(_bytes(plugin.get(_PLUGIN_CONTENT)))
        elif (number := _scalar(value)) is not None:
            self.scalars.setdefault(tag, []).append((step, number))


def _records(content: bytes) -> Iterator[bytes]:
    place = 0
    while place + 12 <= len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        end = place + 12 + length
        if end + 4 > len(content):
            return
        yield content[place + 12 : end]
        place = end + 4


def _fields(message: bytes) -> Iterator[tuple[int, _Field]]:
    """The fields of a protocol buffer by number; what cannot be read ends them."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, place = _varint(message, place)
            yield number, value
            continue
        if kind == 2:
            size, place = _varint(message, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            return
        if place + size > len(message):
            return
        yield number, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits per byte, and where it ends."""
    value, shift = 0, 0
    while place < len(message):
        byte = message[place]
        value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            break
    return value, place


def _bytes(value: _Field | None) -> bytes:
    return value if isinstance(value, bytes) else b""


def _scalar(value: dict[int, _Field]) -> float | None:
    """The number of a summary's value, given as such or as a tensor of one; None where it is something else."""
    if _SIMPLE in value:
        return float(struct.unpack("<f", _bytes(value[_SIMPLE]))[0])
    tensor = dict(_fields(_bytes(value.get(_TENSOR))))
    kind = tensor.get(_DTYPE)
    numbers = _bytes(tensor.get(_CONTENT)) or _bytes(tensor.get(_FLOATS if kind == 1 else _DOUBLES))
    if isinstance(kind, int) and kind in _FORMATS and len(numbers) == struct.calcsize(_FORMATS[kind]):
        return float(struct.unpack(_FORMATS[kind], numbers)[0])
    return None


def _hparams(content: bytes) -> dict[str, str]:
    session = dict(_fields(content)).get(_SESSION)
    entries = [dict(_fields(_bytes(entry))) for number, entry in _fields(_bytes(session)) if number == _HPARAMS]
    found = {}
    for entry in entries:
        name, value = _bytes(entry.get(_KEY)).decode(errors="replace"), dict(_fields(_bytes(entry.get(_ENTRY))))
        if _NUMBER in value:
            number = float(struct.unpack("<d", _bytes(value[_NUMBER]))[0])
            found[name] = f"{number:.0f}" if number.is_integer() and abs(number) < 1e15 else repr(number)
        elif _TEXT in value:
            found[name] = _bytes(value[_TEXT]).decode(errors="replace")
        elif _BOOL in value:
            found[name] = "true" if value[_BOOL] else "false"
    return found
