"""The shape of the project, held by tests: who may import whom, what may not be named where, how long things are."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ablation.identity import TRAINING_MODULES
from ablation.schema import FACTORS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ablation"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.stem != "__init__")

# From the ground up: a module imports only modules of lines above its own, or earlier ones of its own line.
ORDER = (
    "commands starting server errors ending terminal datasets origin ranges datachoice loggers schema phrases",
    "config sections folders rundir runname shapes environment identity",
    "composition overrides pasting commandline configdir stored listing walk layouts kinds jpeg wholeness content "
    "decode lookahead cachefolder storewriter store imagefolder records relabelled download unpack fashion_mnist "
    "parquet cifar_batch cifar webdataset tiny_imagenet csvrows csvpaths csvfile sources duplicates sizes splitting "
    "data admission findings check",
    "allotment gpus jobs trained inputs labels_file needs around comparability questions plan help",
    "mirror_run mirror_tensorboard mirror_mlflow mirror_wandb mirror mirroring",
    # the torch half
    "streams augment batches model optim checkpoint world step loop",
    "progress training run label agreement",
    # entry points of the torch half, which import it only when there is work
    "sweepview launch local engines sweep predict verify train completion",
    # the report half
    "stats pairs power correctness factorial health cost verdict controls images finding runvalues leftout gather "
    "fates selection confirmation wording comparison dataquality crossing facts grids grid_wording formats typeset "
    "grid_tables ladder evidence remake matrix naming study tables leaderboard look compact plots every_run pace "
    "thumbnails forest charts drawing overview provisional speed payload writeup page pictures gate reread outputs "
    "headlines table cells roles outside foreign events trackers tensorboard mlflow readers work stamp report",
    # entry points that train and then report
    "followup robustness more_seeds __main__",
)
RANK = {name: place for place, name in enumerate(" ".join(ORDER).split())}
TORCH = {
    "streams",
    "augment",
    "batches",
    "model",
    "optim",
    "checkpoint",
    "world",
    "step",
    "loop",
    "training",
    "run",
    "label",
    "agreement",
}
REPORT = set(ORDER[-2].split())
LIGHT = set(RANK) - TORCH


def imports(path: Path, *, top_level: bool) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(path: Path, *, top_level: bool) -> set[str]:
    parts = [name.split(".") for name in imports(path, top_level=top_level)]
    return {part[1] for part in parts if part[0] == "ablation" and len(part) > 1 and part[1] in RANK}


def test_every_module_has_its_place() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"} | {"datasets"} == set(RANK)


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_imports_point_down(path: Path) -> None:
    for name in own_imports(path, top_level=True):
        assert RANK[name] < RANK[path.stem], f"{path.name} imports {name}, which comes later"


@pytest.mark.parametrize("name", sorted(LIGHT - {"datasets"}))
def test_torch_is_imported_by_the_torch_half_only(name: str) -> None:
    path = PACKAGE / f"{name}.py"
    heavy = {found.split(".")[0] for found in imports(path, top_level=True)} & {"torch", "torchvision", "safetensors"}
    assert not heavy
    assert not own_imports(path, top_level=True) & TORCH


@pytest.mark.parametrize("name", sorted(REPORT))
def test_the_report_half_never_imports_torch_not_even_later(name: str) -> None:
    path = PACKAGE / f"{name}.py"
    assert "torch" not in {found.split(".")[0] for found in imports(path, top_level=False)}
    assert not own_imports(path, top_level=False) & TORCH


def test_importing_the_light_half_loads_no_torch_and_prints_nothing() -> None:
    light = ", ".join(f"ablation.{name}" for name in sorted(LIGHT - {"datasets"}))
    code = f"import sys, {light}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_code_digest_covers_what_decides_a_run() -> None:
    """Of all that run.py imports, what may change without a number changing is named here."""
    bystanders = {
        "cachefolder",
        "checkpoint",
        "datachoice",
        "download",
        "duplicates",
        "ending",
        "environment",
        "errors",
        "identity",
        "jobs",
        "lookahead",
        "pasting",
        "progress",
        "rundir",
        "schema",
    }
    needed, waiting = {"run"}, ["run"]
    while waiting:
        for name in own_imports(PACKAGE / f"{waiting.pop()}.py", top_level=True) - needed - bystanders - {"datasets"}:
            needed.add(name)
            waiting.append(name)
    assert needed == set(TRAINING_MODULES)


def identifiers(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        found |= {
            getattr(node, field)
            for field in ("id", "attr", "arg", "name")
            if isinstance(getattr(node, field, None), str)
        }
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def test_the_loop_names_no_factor() -> None:
    assert not identifiers(PACKAGE / "loop.py") & set(FACTORS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_modules_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno + 1 <= 40, f"{node.name} is too long"


def test_there_is_no_drawer() -> None:
    assert not {"utils", "util", "misc", "common", "helpers"} & {path.stem for path in PACKAGE.rglob("*")}


def test_no_config_object_below_the_entry_points() -> None:
    """The root config ends at run.py; what builds nets, batches and metrics takes plain arguments."""
    for name in TORCH - {"run", "label"}:
        text = (PACKAGE / f"{name}.py").read_text(encoding="utf-8")
        assert not re.search(r"\bConfig\b|omegaconf|hydra", text), name


def test_nothing_unpickles() -> None:
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"\b(import|from) pickle\b|yaml\.load\(|allow_pickle=True|(?<![.\w])(eval|exec)\(", text
        ), path.name
        for call in re.findall(r"torch\.load\([^)]*\)", text):
            assert "weights_only=True" in call
