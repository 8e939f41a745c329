"""`python -m ablation`: the list of commands."""

import sys
from collections.abc import Sequence

from ablation.commands import COMMANDS, interpreter
from ablation.errors import hint


def listed() -> str:
    """The commands with what they do, a line each."""
    from ablation import __doc__ as question
    from ablation import __version__

    width = max(map(len, COMMANDS))
    lines = (f"  {interpreter()} -m ablation.{name:<{width}}  {does}" for name, does in COMMANDS.items())
    return f"ablation {__version__}: {question}\n\n" + "\n".join(lines) + "\n\nEach tells more with --help."


def main(argv: Sequence[str] | None = None) -> int:
    """List the commands; returns the exit code: 2 for a word that should stand behind a dot."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or {"--help", "-h"} & set(words):
        print(listed())
        return 0
    name = words[0].replace("-", "_")
    example = f"For example: {interpreter()} -m ablation.{name if name in COMMANDS else 'train'} --help"
    print(f"error: {words[0]!r} is no command here.{hint(name, COMMANDS)} {example}\n\n{listed()}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
