"""Completion of command lines in bash, zsh and fish: commands, settings, levels, sections and runs.

  eval "$(ablation-completion bash)"        in ~/.bashrc, or zsh in ~/.zshrc
  ablation-completion fish | source         in ~/.config/fish/config.fish

The shell asks this program, which looks at conf/, at the folder of --config-dir, and at runs/.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any, get_args

from ablation.commandline import GROUPS, run_command
from ablation.composition import settings
from ablation.config import choices
from ablation.configdir import own_configs_of
from ablation.errors import UserError, hint
from ablation.rundir import find_runs
from ablation.sections import section_names

_SWEEPS = ("+section=", "--config-dir=")
# Of each command what it takes besides settings and groups, and whether it takes these.
COMMANDS: dict[str, tuple[tuple[str, ...], bool]] = {
    "train": (("-m", "run=", *_SWEEPS), True),
    "report": (("report.from=", "--open", "--config-dir="), True),
    "robustness": (("lr=", "epochs=", *_SWEEPS), True),
    "more-seeds": (("most=", "again=", "--config-dir="), True),
    "data": (("check", "clean", "out=", "--config-dir="), True),
    "verify": (("run=",), False),
    "predict": ((), False),
}
SCRIPTS = {
    "bash": """_ablation() {
    local IFS=$'\\n' line="${COMP_LINE:0:COMP_POINT}" program=ablation-completion
    [[ $1 == */* ]] && program="${1%/*}/ablation-completion"
    local word="${line##*[[:space:]]}"
    local cut="${word%"${word##*[=:]}"}"
    COMPREPLY=($("$program" complete "$line" 2>/dev/null))
    [[ ${#COMPREPLY[@]} == 1 && $COMPREPLY == *= ]] && compopt -o nospace
    COMPREPLY=("${COMPREPLY[@]#"$cut"}")
}
complete -o default -F _ablation NAMES
""",
    "zsh": """_ablation() {
    local -a found
    found=(${(f)"$(ablation-completion complete "${BUFFER[1,CURSOR]}" 2>/dev/null)"})
    if (( $#found )); then compadd -Q -S '' -- $found; else compset -P '*='; _files; fi
}
compdef _ablation NAMES
""",
    "fish": """for name in NAMES
    complete -c $name -a '(ablation-completion complete (commandline -cp) 2>/dev/null)'
end
""",
}


def script(shell: str) -> str:
    """The text that a shell evaluates to complete our commands.

    Raises:  UserError: the shell is not known.
    """
    if shell not in SCRIPTS:
        known = f"Known: {', '.join(SCRIPTS)}.{hint(shell, SCRIPTS)}"
        wrong = f"{shell!r} is not known." if shell else "for which shell?"
        raise UserError(f'{wrong} {known} Example: eval "$(ablation-completion bash)"')
    return SCRIPTS[shell].replace("NAMES", " ".join(f"ablation-{name}" for name in COMMANDS))


def completions(line: str) -> list[str]:
    """The words that may stand in place of a command line's last one, which the cursor is at the end of."""
    words = line.split()
    last = "" if not words or line[-1:].isspace() else words.pop()
    name = Path(words[0]).name.removeprefix("ablation-") if words else ""
    if name not in COMMANDS:
        return []
    with suppress(UserError), own_configs_of(words[1:]):
        return _found(name, last)
    return _found(name, last)  # a folder that is refused says so when the command runs


def _found(command: str, last: str) -> list[str]:
    key, equals, value = last.partition("=")
    if not equals:
        return sorted(word for word in _words(command) if word.startswith(last))
    listed, comma, begun = value.rpartition(",")
    head = f"{key}={listed}{comma}"
    return [head + one for one in _values(command, key.lstrip("+")) if one.startswith(begun)]


def _words(command: str) -> Iterator[str]:
    own, composes = COMMANDS[command]
    yield from (*own, "--help")
    if command == "predict":
        from ablation.predict import DEFAULTS

        yield from (f"{key}=" for key in DEFAULTS)
    if composes:
        yield from (f"{key}=" for key in {*settings(), *GROUPS} - {"report.source"})  # typed report.from


def _values(command: str, key: str) -> Iterable[str]:
    if key == "run":
        return _runs()
    if command == "predict":
        from ablation.predict import CHOICES

        return CHOICES.get(key, ())
    if key == "section":
        return section_names()
    return choices(key) if key in GROUPS else _members(settings().get("report.source" if key == "report.from" else key))


def _runs() -> list[str]:
    """Directories of runs below runs/, those with a name that is one word."""
    names = sorted(str(run.path) for run in find_runs(Path("runs")))
    return [name for name in names if name.isprintable() and len(name.split()) == 1]


def _members(kind: Any) -> list[str]:
    kinds = [one for one in (kind, *get_args(kind)) if isinstance(one, type)]
    enums = [member.name for one in kinds if issubclass(one, Enum) for member in one]
    return enums or (["false", "true"] if bool in kinds else [])


def _body(arguments: list[str]) -> None:
    if arguments[:1] == ["complete"] and len(arguments) == 2:
        print("\n".join(completions(arguments[1])))
    else:
        print(script(" ".join(arguments)), end="")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `ablation-completion`; returns the exit code."""
    return run_command(_body, lambda: str(__doc__), argv)


if __name__ == "__main__":
    sys.exit(main())
