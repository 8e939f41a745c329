"""Matplotlib's SVG made small for the page, looking the same: a third of its letters.

Paths become relative with one decimal of a point, equal styles share a class of the page, equal neighbours a group;
what is invisible, and a grid line or a tick of its own element, goes.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import groupby
from xml.etree import ElementTree

ROOT_CSS = "figure svg{stroke-linejoin:round}"  # as matplotlib's own style element says, which holds for all elements
_COMMANDS = re.compile(r"([A-Za-z])\s*([^A-Za-z]*)")
_DECIMALS = re.compile(r"-?\d+\.\d+")
_LONG = 1000  # letters of a path as matplotlib writes it; no marker has so many
_COMMON = ("clip-path", "class")
_HREF = "{http://www.w3.org/1999/xlink}href"
_AXIS = re.compile(r"matplotlib\.axis_\d+")


class Sheet:
    """Short names that all figures of a page share: a class per style, an id per thing that is referred to."""

    def __init__(self) -> None:
        self._classes: dict[str, str] = {}
        self._ids: dict[tuple[str, str], str] = {}

    def class_of(self, style: str) -> str:
        """The class of a style, new for a new one."""
        return self._classes.setdefault(style, f"s{len(self._classes)}")

    def id_of(self, figure: str, name: str) -> str:
        """The id in the page of an id in a figure."""
        return self._ids.setdefault((figure, name), f"f{len(self._ids)}")

    @property
    def css(self) -> str:
        """The rules of all classes given out so far."""
        return "\n".join([ROOT_CSS, *(f".{name}{{{style}}}" for style, name in self._classes.items())])


@dataclass
class _Node:
    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list["_Node"] = field(default_factory=list)
    text: str = ""

    def written(self) -> str:
        attributes = "".join(f' {name}="{escape(value)}"' for name, value in self.attributes.items())
        inside = "".join(child.written() for child in self.children) + escape(self.text, quote=False)
        return f"<{self.tag}{attributes}>{inside}</{self.tag}>" if inside else f"<{self.tag}{attributes}/>"


@dataclass(frozen=True)
class _Figure:
    """How the parts of one figure are renamed, and where its definitions are collected."""

    name: str
    sheet: Sheet
    theme: Callable[[str], str]
    key: Callable[[str], str | None]
    referenced: frozenset[str]
    definitions: list[_Node]


def compact(
    svg: str, name: str, sheet: Sheet, theme: Callable[[str], str], key: Callable[[str], str | None]
) -> tuple[str, str]:
    """The view box of a figure and what its svg element holds.

    Args:    svg: as matplotlib wrote it; name: of the figure, unique in the page; theme: its colours as those of the
             page; key: the value of data-key for an id of the figure, or None.
    """
    root = ElementTree.fromstring(svg)
    referenced = frozenset(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))
    figure = _Figure(name, sheet, theme, key, referenced, [])
    nodes = _shared(_converted(root, figure))
    inside = "\n".join(node.written() for node in [_Node("defs", {}, figure.definitions), *nodes])
    return root.attrib["viewBox"], inside


def _converted(element: ElementTree.Element, figure: _Figure) -> list[_Node]:
    """The children of an element as nodes; groups that mean nothing give way to what they hold."""
    found: list[_Node] = []
    for child in element:
        tag = child.tag.rpartition("}")[2]
        if tag in ("metadata", "style"):
            continue
        attributes = _attributes(child, figure)
        if tag == "defs":
            definitions = [_defined(one, figure) for one in child if not one.tag.endswith("style")]
            figure.definitions.extend(definitions)
        elif tag == "g":
            children = _converted(child, figure)
            if _AXIS.fullmatch(child.get("id", "")):
                children = _merged(children)
            found += [_Node("g", attributes, children)] if attributes and children else children
        elif tag != "path" or re.search("(?:fill|stroke):(?!none)", child.get("style", "").replace(" ", "")):
            found.append(_Node(tag, attributes, _converted(child, figure), (child.text or "").strip("\n")))
    return found


def _defined(element: ElementTree.Element, figure: _Figure) -> _Node:
    """A clip path, an area, or a marker, whose few points keep two decimals."""
    attributes = _attributes(element, figure)
    if "d" in attributes:
        attributes["d"] = path(attributes["d"], 2 if len(attributes["d"]) < _LONG else 1)
    return _Node(element.tag.rpartition("}")[2], attributes, [_defined(child, figure) for child in element])


def _attributes(element: ElementTree.Element, figure: _Figure) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in element.attrib.items():
        if name == "id":
            if value in figure.referenced:
                found["id"] = figure.sheet.id_of(figure.name, value)
            elif (key := figure.key(value)) is not None:
                found["data-key"] = key
        elif name == "style":
            found["class"] = figure.sheet.class_of(_style(figure.theme(value)))
        elif name == "clip-path":
            found[name] = f"url(#{figure.sheet.id_of(figure.name, value[5:-1])})"
        elif name == _HREF:
            found["href"] = f"#{figure.sheet.id_of(figure.name, value[1:])}" if value.startswith("#") else value
        elif name == "d":
            found[name] = value
        elif not (name == "transform" and value.startswith("rotate(-0 ")):
            found[name] = _rounded(value, 1 if name in ("x", "y") else 2)
    return found


def _rounded(text: str, decimals: int) -> str:
    return _DECIMALS.sub(lambda match: _number(round(float(match[0]), decimals)), text)


def _style(text: str) -> str:
    """A style without spaces and font; the opacity of a mere line or area as one that is inherited."""
    pairs = [part.split(":", 1) for part in text.split(";") if part.strip()]
    found = {name.strip(): value.strip() for name, value in pairs if name.strip() != "font-family"}
    for plain, other in (("fill", "stroke"), ("stroke", "fill")):
        if found.get(plain, "none") == "none" and "opacity" in found and f"{other}-opacity" not in found:
            found[f"{other}-opacity"] = found.pop("opacity")
    return ";".join(f"{name}:{value}" for name, value in found.items())


def _merged(nodes: list[_Node]) -> list[_Node]:
    """The parts of an axis, which do not overlap: its grid lines as one path, then its ticks, then its labels."""
    lines: dict[tuple[tuple[str, str], ...], _Node] = {}
    rest: list[_Node] = []
    for node in nodes:
        if node.tag != "path":
            rest.append(node)
            continue
        same = tuple((name, value) for name, value in node.attributes.items() if name != "d")
        if same in lines:
            lines[same].attributes["d"] += node.attributes["d"]
        else:
            lines[same] = node
    return [*lines.values(), *sorted(rest, key=lambda node: node.tag == "text")]


def _shared(nodes: list[_Node]) -> list[_Node]:
    """Nodes whose equal clip paths and classes are those of a group around them."""
    for node in nodes:
        node.children = _shared(node.children)
        if "d" in node.attributes:
            node.attributes["d"] = path(node.attributes["d"])
        _lift(node)
    return _grouped(nodes, ("clip-path", "class"))


def _lift(node: _Node) -> None:
    """What all parts of a group have in common becomes its own; a part that is left without attributes gives way."""
    for name in _COMMON if node.tag == "g" else ():
        values = {child.attributes.get(name) for child in node.children}
        if name not in node.attributes and len(values) == 1 and (value := values.pop()) is not None:
            node.attributes[name] = value
            for child in node.children:
                del child.attributes[name]
    parts = [[child] if child.attributes or child.tag != "g" else child.children for child in node.children]
    node.children = [child for part in parts for child in part]


def _grouped(nodes: list[_Node], names: Sequence[str]) -> list[_Node]:
    """Neighbours with an equal attribute in a group that has it: by the first of these names, inside by the next."""
    if not names:
        return nodes
    found: list[_Node] = []
    for value, members in groupby(nodes, lambda node: node.attributes.get(names[0])):
        inner = list(members)
        if value is None:
            found += _grouped(inner, names[1:])
        elif len(inner) == 1:
            found += inner
        else:
            for node in inner:
                del node.attributes[names[0]]
            found.append(_Node("g", {names[0]: value}, _grouped(inner, names[1:])))
            _lift(found[-1])
    return found


def path(text: str, decimals: int = 1) -> str:
    """A path of absolute M, L, Q, C and z in relative coordinates; every point is off by half a last decimal at most.

    Args:    decimals: of coordinates, which are points of a figure.
    """
    scale = 10**decimals
    x = y = first_x = first_y = 0
    written: list[str] = []
    last = ""
    parts = _COMMANDS.findall(text)
    for index, (command, numbers) in enumerate(parts):
        if command in "zZ":
            written.append("z")
            x, y, last = first_x, first_y, ""
            continue
        values = [round(float(number) * scale) for number in numbers.split()]
        if command == "L" and values == [first_x, first_y] and parts[index + 1 : index + 2] == [("z", "")]:
            continue  # z draws this line
        steps = [value - (y if place % 2 else x) for place, value in enumerate(values)]
        x, y = values[-2:]
        letter = command.lower()
        if command == "M":
            first_x, first_y = x, y
        elif command == "L" and 0 in steps:
            letter, steps = ("h", steps[:1]) if not steps[1] else ("v", steps[1:])
        told = _joined(steps, scale)
        written.append(told if letter == last and told[0] == "-" else f" {told}" if letter == last else letter + told)
        last = {"m": "l"}.get(letter, letter)
    return "".join(written)


def _joined(steps: Sequence[int], scale: int) -> str:
    """Numbers side by side, with a space only where one would run into the next."""
    told = [_number(step / scale) for step in steps]
    return told[0] + "".join(one if one[0] == "-" else f" {one}" for one in told[1:])


def _number(value: float) -> str:
    return f"{value:g}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:g}"
