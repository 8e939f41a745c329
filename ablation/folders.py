"""Folders below a folder, links followed: what looks for runs walks through here."""

import os
from collections.abc import Iterator
from pathlib import Path


def walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`os.walk` from the top in the order of names, and then through links to folders; every real folder comes once.

    A folder that lies below `root` itself comes under its own path, whatever links to it. A link to a folder that the
    link lies in is a loop and is passed over: whatever else is there was never put below `root`.
    """
    seen: set[str] = set()
    waiting = [os.fspath(root)]
    for top in waiting:
        for folder, names, files in os.walk(top):
            real = os.path.realpath(folder)
            if real in seen:
                names.clear()
                continue
            seen.add(real)
            names.sort()
            yield Path(folder), names, files
            links = [path for name in names if os.path.islink(path := os.path.join(folder, name))]
            waiting += [path for path in links if not Path(real).is_relative_to(os.path.realpath(path))]
