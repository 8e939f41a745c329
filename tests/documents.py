"""What README and docs/ hold: code blocks, commands, links, headings and tables, read out of their Markdown."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
PROGRAMS = ("python", "make", "torchrun")


BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$\n?", flags=re.DOTALL | re.MULTILINE)


def fences(text: str, *languages: str) -> list[str]:
    """The content of the code blocks of these languages, '' for none."""
    return [block for language, block in BLOCK.findall(text) if language in languages]


def prose(text: str) -> str:
    """A document without its code blocks."""
    return BLOCK.sub("", text)


def is_command(words: list[str]) -> bool:
    return len(words) > 1 and (words[0] in PROGRAMS or words[0].startswith("ablation-"))


def commands_of(text: str) -> Iterator[list[str]]:
    """The commands of a document that are this project's, as words: of its sh blocks, and those in its sentences.

    `name=...` and `<name>` in a sentence stand for something; such a command is none to try.
    """
    lines = [line for block in fences(text, "sh") for line in block.replace("\\\n", " ").splitlines()]
    sentences = re.sub(r"(?<!\n)\n(?!\n)", " ", prose(text))  # a command may go on in the next line
    spans = [span for span in re.findall(r"`([^`\n]+)`", sentences) if not re.search(r"\.\.\.|<|=[A-Z]{2,}\b", span)]
    for line in [line for line in lines if re.match(rf"({'|'.join(PROGRAMS)}|ablation-)", line)] + [
        span for span in spans if re.match(r"(python -m|make|torchrun|ablation-\w+) ", span)
    ]:
        words = shlex.split(line, comments=True)
        if is_command(words):
            yield words


def links_of(text: str) -> list[str]:
    """Where the links and images of a document lead."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(text))


def anchors_of(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(text), flags=re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def files_of(text: str) -> list[tuple[str, str, str]]:
    """Blocks under a line that names their file: its path, the block's language, the block."""
    return re.findall(r"^`([\w./-]+)`:\n\n```(\w+)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def apply_blocks(text: str, root: Path) -> list[str]:
    """Write the files of a document's blocks below `root`, and make the changes of its diffs.

    Returns: the paths that were written or changed.
    Raises:  ValueError: the lines that a diff begins with are not in its file, or more than once.
    """
    touched = []
    for name, language, block in files_of(text):
        path = root / name
        if language == "diff":
            lines = block.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if line[0] in " -")
            after = "".join(line[1:] for line in lines if line[0] in " +")
            content = path.read_text(encoding="utf-8")
            if content.count(before) != 1:
                raise ValueError(f"{name} has these lines {content.count(before)} times:\n{before}")
            path.write_text(content.replace(before, after), encoding="utf-8")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block, encoding="utf-8")
        touched.append(name)
    return touched


def tables_of(text: str) -> dict[str, list[list[str]]]:
    """The rows of each heading's first table, cell by cell; under the heading's text without backticks."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("#").strip().replace("`", "")
        elif line.startswith("|"):
            found.setdefault(heading, []).append([cell.strip() for cell in line.strip().strip("|").split("|")])
    return {name: rows[2:] for name, rows in found.items()}
