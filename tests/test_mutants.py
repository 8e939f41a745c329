"""Each trouble of test_field_bugs.py comes back in a copy of the project whose mechanism is broken, and is noticed.

MUTANTS has a small break for each: the text of a file, what takes its place, and a test that must then fail. A text
that is not there any more fails here, too: give the line that does the work now.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.test_field_bugs import NUMBERS

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Mutant:
    """A break: in `file`, `old` becomes `new`, and then `test`, a module and what -k selects there, fails."""

    file: str
    old: str
    new: str
    test: str


WORN = "    kept = globals().setdefault('KEPT', [])\n    kept.append({})\n    if number > 1:\n"
START = "    if number > 1:\n"  # of every run, in the process of the sweep
BATCHES = "torch.stack([part.mean() for part in world.total(losses.cpu().double()).split(batch_size)]).mean().item()"
MUTANTS = {
    "O1": Mutant("ablation/rundir.py", "lock.acquire(timeout=LOCK_PATIENCE)", "pass", "test_run field_O1_two"),
    "O2": Mutant("ablation/run.py", "run.update_status(state, error=reason)", "pass", "test_run field_O2"),
    "O3": Mutant("ablation/jobs.py", "    if state in (State.finished, State.diverged):\n        return False",
                 "    if state is State.diverged:\n        return False", "test_run field_O3"),
    "O4": Mutant("ablation/composition.py", '"\\\\" * ending', '""', "test_field_config field_O4_any_path"),
    "O5": Mutant("ablation/commandline.py", "        if name not in known:", "        if False:",
                 "test_field_config field_O5_an_option"),
    "O6": Mutant("ablation/commandline.py", "elif override.is_sweep_override() and not sweep:", "elif False:",
                 "test_field_config field_O6_a_list"),
    "O7": Mutant("ablation/ranges.py", "            kind(text)\n", "            str(text)\n",
                 "test_field_config field_O7_a_bad_number"),
    "O8": Mutant("ablation/commandline.py", "    elif key not in settings():\n", "    elif False:\n",
                 "test_field_config field_O8_a_misspelt_key_is_never_taken"),
    "O9": Mutant("ablation/identity.py", '"base")[:most]', '"base")', "test_field_bugs field_O9"),
    "O10": Mutant("ablation/launch.py", START, WORN.format('bytearray(b"x" * 20_000_000)'), "test_launch field_O10"),
    "O11": Mutant("ablation/walk.py", 'if not entry.name.startswith(".") and entry.name.lower() not in _TOOL_FOLDERS:',
                  "if True:", "test_walk field_O11"),
    "O12": Mutant("ablation/data.py", "    if store.skipped and data.bad_files is BadFiles.error:", "    if False:",
                  "test_check field_O12_truncated"),
    "O13": Mutant("ablation/imagefolder.py", "empty = [name for name in folders if not files[name]]",
                  "empty = list[str]()", "test_walk field_O13"),
    "O14": Mutant("ablation/imagefolder.py", "extra = [name for name, found in vals.items() if found and name not in",
                  "extra = [name for name, found in vals.items() if not found and name not in", "test_walk field_O14"),
    "O15": Mutant("ablation/imagefolder.py", 'if extra == ["images"]:', "if False:", "test_walk field_O15"),
    "O16": Mutant("ablation/walk.py", "return sorted(found, key=natural_key)", "return sorted(found)",
                  "test_walk field_O16"),
    "O17": Mutant("ablation/decode.py", '    if image.mode.startswith("I"):  # 16 bits', "    if False:  # 16 bits",
                  "test_field_training field_O17"),
    "O18": Mutant("ablation/predict.py", "names = inputs.names[start : start + batch_size]",
                  "names = inputs.names[: len(inputs.names[start : start + batch_size])]",
                  "test_predict field_O18_each_row"),
    "O19": Mutant("ablation/shapes.py", "if per_map and last_map < 2:", "if per_map and last_map < 1:",
                  "test_field_training field_O19"),
    "O20": Mutant("ablation/batches.py", "if merge_single and", "if not merge_single and",
                  "test_streams field_O20"),
    "O21": Mutant("ablation/shapes.py", "and channels % groups:", "and channels < groups:",
                  "test_field_training field_O21_groups"),
    "O22": Mutant("ablation/loop.py", "rate = budget.rate(epoch)", "rate = budget.rate(epoch - done)",
                  "test_field_bugs field_O22"),
    "O23": Mutant("ablation/loop.py", "train_epoch(step, model, budget, epoch)",
                  "train_epoch(step, model, budget, epoch - done)", "test_field_bugs field_O23"),
    "O24": Mutant("ablation/checkpoint.py", '        "rows": rows,\n', '        "rows": rows, "path": run.path,\n',
                  "test_field_bugs field_O24"),
    "O25": Mutant("ablation/loop.py", "world.total(losses.cpu().double()).mean().item()", BATCHES,
                  "test_field_training field_O25"),
    "O26": Mutant("ablation/loop.py", " if bool((classes[:1] >= 0).all()) else None", "",
                  "test_field_training field_O26"),
    "O27": Mutant("ablation/loop.py", '_refuse_divergence(model, epoch + 1, {"validation loss": result.loss})', "pass",
                  "test_field_training field_O27"),
    "O28": Mutant("ablation/training.py", "if self.best is row:", "if True:", "test_predict field_O28"),
    "O29": Mutant("ablation/training.py", "self.rows, code = load_last(", "_, code = load_last(",
                  "test_field_bugs field_O29"),
    "O30": Mutant("ablation/finding.py", "return [self.level[seed] - self.control[seed] for seed in self.seeds]",
                  "return [a - b for a, b in zip(self.level.values(), self.control.values())]",
                  "test_finding field_O30"),
    "O31": Mutant("ablation/stats.py", "float(array.std(ddof=1)) if array.size > 1 else math.nan",
                  "float(array.std(ddof=min(1, array.size - 1)))", "test_stats field_O31"),
    "O32": Mutant("ablation/look.py", 'text.set_fontfamily(["DejaVu Sans", font])', "pass", "test_names field_O32"),
    "S1": Mutant("ablation/jobs.py", "return folder and str(Path(folder).expanduser().absolute())", "return folder",
                 "test_lifecycle field_S1"),
    "S2": Mutant("ablation/run.py", "    log.addHandler(handler)\n",
                 "    log.addHandler(handler)\n    log.addHandler(logging.FileHandler(run / rundir.LOG))\n",
                 "test_launch field_S2"),
    "S3": Mutant("ablation/launch.py", START, WORN.format("open(__file__)"), "test_launch field_S3"),
    "S4": Mutant("ablation/batches.py", "ROOM = 0.5", "num_workers = 2\nROOM = 0.5", "test_field_bugs field_S4"),
    "S5": Mutant("ablation/jobs.py", "    processes: int = 1  # that train it together\n",
                 "    processes: int = 1\n    rate: object = lambda epoch: 1\n",
                 "test_field_bugs field_S5"),
    "S6": Mutant("ablation/environment.py", "    if not _available(wanted.name):", "    if False:",
                 "test_environment field_S6"),
    "S7": Mutant("ablation/report.py", 'os.environ["MPLBACKEND"] = "agg"', "pass", "test_field_training field_S7"),
    "S8": Mutant("pyproject.toml", '"pandas>=2.2,<4"', '"pandas"', "test_field_training field_S8_what"),
    "S9": Mutant("ablation/comparability.py", "if len(counts) > 1:", "if len(counts) > 9:",
                 "test_comparability field_S9"),
}  # fmt: skip


def test_every_trouble_has_a_mutant() -> None:
    assert set(MUTANTS) == NUMBERS


@pytest.mark.parametrize("number", MUTANTS)
def test_every_mutant_breaks_a_text_that_is_there_once(number: str) -> None:
    mutant = MUTANTS[number]
    assert (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.old) == 1, f"{number}: {mutant.old}"
    assert f"field_{number}_" in f"{mutant.test}_"
    assert (ROOT / "tests" / f"{mutant.test.split()[0]}.py").exists()


def copied(folder: Path) -> Path:
    """A copy of the project, without what no test of a mutant needs."""
    for name in ("ablation", "conf", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, folder)
    return folder


def run_tests(folder: Path, selections: Sequence[str]) -> tuple[int, str]:
    """Exit code of pytest, 1 where a test failed, and what it said."""
    files = sorted({f"tests/{selection.split()[0]}.py" for selection in selections})
    words = " or ".join(sorted({selection.split()[1] for selection in selections}))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        *files,
        "-k",
        words,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1800)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_tests_of_the_mutants_pass_on_the_copy_as_it_is(tmp_path: Path) -> None:
    code, said = run_tests(copied(tmp_path), [mutant.test for mutant in MUTANTS.values()])
    assert code == 0, said


@pytest.mark.slow
@pytest.mark.parametrize("number", MUTANTS)
def test_a_mutant_is_noticed_by_the_test_with_its_number(number: str, tmp_path: Path) -> None:
    mutant, folder = MUTANTS[number], copied(tmp_path)
    path = folder / mutant.file
    path.write_text(path.read_text(encoding="utf-8").replace(mutant.old, mutant.new), encoding="utf-8")
    code, said = run_tests(folder, [mutant.test])
    assert (code, "1 failed" in said) == (1, True), said
