"""What is not in the tables of a report: folders that cannot be read, and runs that a newer one takes the place of."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ablation.errors import counted
from ablation.phrases import Say, mark

# What two runs of one variant, setting and seed may still differ in, as a reader calls it.
_OTHER = {"code_digest": mark("code"), "data_fingerprint": mark("images"), "precision": mark("precision")}


@dataclass(frozen=True)
class LeftOut:
    """A directory that is not in the tables, and why; of a run that another one superseded its id and what differs."""

    path: str
    reason: str
    superseded: str = ""
    other: tuple[str, ...] = ()


def unread_told(left_out: Iterable[LeftOut]) -> str:
    """For a message about runs that were not found: how many were left out, and the commonest reasons, a line each.

    Empty where none was. Runs that others took the place of are no such runs.
    """
    reasons = Counter(item.reason for item in left_out if not item.superseded)
    if not reasons:
        return ""
    shown = [f"  {counted(number, 'folder')}: {reason}" for reason, number in reasons.most_common(3)]
    rest = reasons.total() - sum(number for _, number in reasons.most_common(3))
    shown += [f"  {counted(rest, 'other')} for other reasons"] if rest else []
    told = counted(reasons.total(), "folder was", "folders were")
    return "\n".join([f"\n{told} left out, and may be the runs that are meant:", *shown])


def superseded(older: Mapping[Any, Any], newer: Mapping[Any, Any]) -> LeftOut:
    """The older of two runs of one variant, setting and seed; both as rows of the runs table."""
    other = tuple(word for name, word in _OTHER.items() if (older[name] or "") != (newer[name] or ""))
    reason = f"{newer['run_dir']} is the same variant and seed, and newer or finished"
    return LeftOut(older["run_dir"], reason, older["run_id"], other)


def superseded_told(left_out: Iterable[LeftOut], say: Say) -> Iterator[str]:
    """How many runs were superseded and which, with what they differ in beside time; nothing where none was."""
    found = sorted((item for item in left_out if item.superseded), key=lambda item: (item.superseded, item.path))
    if found:
        yield say(
            "{number} {number:run was|runs were} superseded by a newer or finished run of the same variant and seed, "
            "and {number:counts|count} nowhere: {ids}.",
            number=len(found), ids=say(", ").join(_named(item, say) for item in found),
        )  # fmt: skip


def _named(item: LeftOut, say: Say) -> str:
    if not item.other:
        return item.superseded
    return say("{id} (other {what})", id=item.superseded, what=say(", ").join(say(word) for word in item.other))
