"""CIFAR's Python batches, read without unpickling: nothing in such a file is ever called, imported or built.

A pickle is a program. This reads its instructions one by one, keeps text, numbers, lists and dictionaries, notes what
it asks to call without calling it, and refuses every instruction and name that the published files do not have.
"""

import mmap
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickletools import opcodes
from typing import IO, Any, cast

from ablation.listing import DataFault

PIXELS = 3 * 32 * 32  # bytes of an image: the red plane, the green one, the blue one
_LONG = 4096  # bytes from which a text is noted by its place only
_NAMES = frozenset(
    {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}
)


@dataclass(frozen=True)
class Batch:
    """The labels of a batch, and the byte of its file at which the first image begins."""

    labels: tuple[int, ...]
    offset: int


class _RefusedError(ValueError):
    """The file has what no CIFAR batch has."""


@dataclass(frozen=True)
class _Bytes:
    offset: int
    size: int


@dataclass(frozen=True)
class _Name:
    name: str


@dataclass
class _Call:
    """What a pickle asks to build, as it says it; never built."""

    function: Any
    arguments: Any
    state: Any = None


_MARK = object()


class _Machine:
    """The stack and the memory of a pickle's program."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}

    def marked(self) -> list[Any]:
        """Take what lies above the last mark, and the mark."""
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:  # an IndexError where there is none
            place -= 1
        found = self.stack[place + 1 :]
        del self.stack[place:]
        return found

    def put(self, key: int) -> None:
        self.memory[key] = self.stack[-1]

    def pack(self, count: int) -> None:
        self.stack, taken = self.stack[: len(self.stack) - count], self.stack[len(self.stack) - count :]
        if len(taken) < count:
            raise _RefusedError("a tuple of too few")
        self.stack.append(tuple(taken))

    def extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise _RefusedError("items for what is no list")
        self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or not all(isinstance(key, str) for key in items[::2]):
            raise _RefusedError("entries for what is no dictionary")
        target.update(zip(items[::2], items[1::2], strict=True))

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.stack.append(_Call(function, arguments))

    def build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Call):
            raise _RefusedError("a state for what is no array")
        self.stack[-1].state = state

    def name(self, name: str) -> None:
        if name not in _NAMES:
            raise _RefusedError(f"it asks for {name[:60].replace(' ', '.')!r}")
        self.stack.append(_Name(name))


def _value(machine: _Machine, value: Any) -> None:
    machine.stack.append(value)


_CODES = {instruction.code: instruction for instruction in opcodes}
# How the length of a text is written before it.
_TEXTS = {
    "SHORT_BINSTRING": "<B",
    "SHORT_BINBYTES": "<B",
    "SHORT_BINUNICODE": "<B",
    "BINSTRING": "<i",
    "BINBYTES": "<I",
    "BINUNICODE": "<I",
    "BINBYTES8": "<Q",
}
_INSTRUCTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    **dict.fromkeys(_TEXTS, _value),
    "PROTO": lambda *_: None,
    "FRAME": lambda *_: None,
    "STOP": lambda *_: None,
    "MARK": lambda machine, *_: machine.stack.append(_MARK),
    "EMPTY_DICT": lambda machine, *_: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, *_: machine.stack.append([]),
    "EMPTY_TUPLE": lambda machine, *_: machine.stack.append(()),
    "NONE": lambda machine, *_: machine.stack.append(None),
    "NEWTRUE": lambda machine, *_: machine.stack.append(True),
    "NEWFALSE": lambda machine, *_: machine.stack.append(False),
    "BININT": _value,
    "BININT1": _value,
    "BININT2": _value,
    "BINPUT": lambda machine, key: machine.put(key),
    "LONG_BINPUT": lambda machine, key: machine.put(key),
    "MEMOIZE": lambda machine, *_: machine.put(len(machine.memory)),
    "BINGET": lambda machine, key: machine.stack.append(machine.memory[key]),
    "LONG_BINGET": lambda machine, key: machine.stack.append(machine.memory[key]),
    "TUPLE": lambda machine, *_: machine.stack.append(tuple(machine.marked())),
    "TUPLE1": lambda machine, *_: machine.pack(1),
    "TUPLE2": lambda machine, *_: machine.pack(2),
    "TUPLE3": lambda machine, *_: machine.pack(3),
    "APPEND": lambda machine, *_: machine.extend([machine.stack.pop()]),
    "APPENDS": lambda machine, *_: machine.extend(machine.marked()),
    "SETITEM": lambda machine, *_: machine.update([*reversed([machine.stack.pop(), machine.stack.pop()])]),
    "SETITEMS": lambda machine, *_: machine.update(machine.marked()),
    "GLOBAL": lambda machine, name: machine.name(name),
    "STACK_GLOBAL": lambda machine, *_: machine.name(" ".join(reversed([machine.stack.pop(), machine.stack.pop()]))),
    "REDUCE": lambda machine, *_: machine.call(),
    "BUILD": lambda machine, *_: machine.build(),
}


# What reading a damaged pickle raises, the last with a text whose escapes are none.
_DAMAGE = (_RefusedError, ValueError, LookupError, TypeError, OverflowError, struct.error, DeprecationWarning)


def read_batch(path: Path, label_key: str) -> Batch:
    """Labels and place of the images of a file like data_batch_1; label_key is "labels" or "fine_labels".

    Raises:  UserError: it is damaged, or no such batch.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # of an escape in a damaged text Python only warns
            content = _dictionary(path)
        labels = content[label_key]
        if not isinstance(labels, list) or not all(type(label) is int for label in labels):
            raise _RefusedError(f"its {label_key} are no list of numbers")
        return Batch(tuple(labels), _images(content["data"], len(labels)))
    except _DAMAGE as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise DataFault(f"{path} is no CIFAR batch, or a damaged one ({why}). Get the file again.") from error


def _dictionary(path: Path) -> Mapping[str, Any]:
    machine = _Machine()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as source:
        for name, argument in _program(source):
            _INSTRUCTIONS[name](machine, argument)
    (content,) = machine.stack
    if not isinstance(content, dict):
        raise _RefusedError("it is no dictionary")
    return content


def _program(source: mmap.mmap) -> Iterator[tuple[str, Any]]:
    """The instructions of a pickle with their arguments; of a long text its place, and its bytes are not touched."""
    while True:
        code = source.read(1)
        instruction = _CODES.get(code.decode("latin-1"))
        if instruction is None or instruction.name not in _INSTRUCTIONS:
            raise _RefusedError(f"it has the instruction {instruction.name if instruction else code!r}")
        name = instruction.name
        if name in _TEXTS:
            yield name, _text(source, _TEXTS[name])
        else:
            yield name, instruction.arg.reader(cast(IO[bytes], source)) if instruction.arg else None
        if name == "STOP":
            return


def _text(source: mmap.mmap, length: str) -> str | _Bytes:
    (size,) = struct.unpack(length, source.read(struct.calcsize(length)))
    if not 0 <= size <= len(source) - source.tell():
        raise _RefusedError("it is cut off")
    if size < _LONG:
        return source.read(size).decode("latin-1")
    found = _Bytes(source.tell(), size)
    source.seek(size, 1)
    return found


def _images(array: Any, count: int) -> int:
    """Where the bytes of an array of `count` images begin, if it is one of unsigned bytes, image after image."""
    match array:
        case _Call(
            function=_Name(),
            state=(1, (int(rows), int(columns)), _Call(arguments=(str(kind), *_)), False, _Bytes() as data),
        ) if array.function.name.endswith("_reconstruct"):
            if kind not in ("u1", "|u1") or columns != PIXELS:
                raise _RefusedError(f"its data are {kind} x {columns}, expected u1 x {PIXELS}")
            if not count or rows != count or data.size != rows * columns:
                raise _RefusedError(f"it has {count} labels, {rows} images and {data.size} bytes")
            return data.offset
    raise _RefusedError("its data are no array as numpy writes it")
