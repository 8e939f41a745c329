"""Which run a user means: by its directory, its name, its run id, or the beginning of that."""

from pathlib import Path

from ablation.errors import UserError
from ablation.rundir import RunDir, by_run_id, find_runs

START = 4  # letters of a run id that may stand for it where no other begins so, as in git


def run_named(wanted: str, root: Path) -> RunDir:
    """The run whose directory this is, or else that of this name, run id or start of an id below `root`, or the path.

    Raises:  UserError: several ids begin so.
    """
    run = RunDir(Path(wanted))
    if run.raw_status() is not None:
        return run
    ids = by_run_id(root)
    known = {found.path.name: found for found in find_runs(root)} | ids
    if wanted in known:
        return known[wanted]
    begun = [run_id for run_id in ids if run_id.startswith(wanted)] if len(wanted) >= START else []
    if len(begun) > 1:
        listed = "\n".join(f"  {run_id}  {ids[run_id].path}" for run_id in begun)
        raise UserError(f"run={wanted}: {len(begun)} run ids begin so. Give more of it:\n{listed}")
    return ids[begun[0]] if begun else run
