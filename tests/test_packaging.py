"""What is built from this tree: installed into a venv of its own and run from a folder outside, as a user would."""

import csv
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

from ablation import __version__
from tests.factory import write_sections

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "train": "train", "report": "report", "predict": "predict", "verify": "verify", "data": "check",
    "robustness": "robustness", "more-seeds": "more_seeds", "completion": "completion",
}  # fmt: skip
N_TEST = 2_500  # embedded test images
# A process tells at its end whether torch was loaded in it.
TELL_TORCH = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))"


def built(kind: str, folder: Path) -> Path:
    """The sdist or wheel of this tree."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl" if kind == "wheel" else "*.tar.gz"))


@pytest.fixture(scope="module")
def wheel_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def wheel(wheel_file: Path) -> Path:
    """The installed content of a wheel, unpacked into a folder of its own."""
    with zipfile.ZipFile(wheel_file) as archive:
        archive.extractall(wheel_file.parent / "site")
    return wheel_file.parent / "site"


def installed(package: Path, folder: Path) -> Path:
    """The scripts of a new venv with a wheel or sdist; what it depends on is shared with this one, to be quick."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    shared = sysconfig.get_paths()["purelib"]
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "shared.pth").write_text(f"{shared}\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    done = subprocess.run(
        [*pip, "--ignore-installed", "--no-build-isolation", str(package)],
        capture_output=True, text=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "bin"


@pytest.fixture(scope="module")
def scripts(wheel_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(wheel_file, tmp_path_factory.mktemp("venv"))


def outside(scripts: Path, folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run an installed script in a folder that knows nothing of the checkout."""
    environment = {"PATH": f"{scripts}:/usr/bin:/bin", "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    program = str(scripts / command[0])
    return subprocess.run(
        [program, *command[1:]], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


def test_the_wheel_holds_conf_data_template_and_licences(wheel: Path) -> None:
    shipped = {path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.yaml")}
    assert {path.relative_to(wheel / "ablation/conf") for path in (wheel / "ablation/conf").rglob("*.yaml")} == shipped
    for name in ("datasets/fashion_mini.npz", "datasets/LICENSE-fashion-mnist", "templates/report.html.j2"):
        assert (wheel / "ablation" / name).exists()
    assert list(wheel.glob("*.dist-info/licenses/LICENSE"))
    assert not (wheel / "tests").exists()


def test_the_wheel_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    code = (
        "import ablation, sys; from ablation.train import main; "
        f"assert ablation.__file__.startswith({str(wheel)!r}), ablation.__file__; "
        "sys.exit(main(['-m', '+section=norm', 'plan=true']))"
    )
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "3 runs: 3 to train from the start; nothing was trained." in done.stdout


def test_the_distribution_has_a_name_of_its_own_and_scripts_for_each_command(wheel: Path) -> None:
    metadata = next(wheel.glob("*.dist-info"))
    assert "\nName: ablation-study\n" in (metadata / "METADATA").read_text()
    listed = (metadata / "entry_points.txt").read_text().split()
    found = dict(re.findall(r"ablation-([\w-]+) = ablation\.(\w+):main", " ".join(listed)))
    assert found == COMMANDS


@pytest.mark.slow
def test_the_wheel_in_a_venv_of_its_own_trains_reports_and_predicts_from_any_folder(
    scripts: Path, tmp_path: Path
) -> None:
    where = outside(scripts, tmp_path, "python", "-c", "import ablation; print(ablation.__file__)")
    assert where.stdout.startswith(str(scripts.parent)), where.stdout + where.stderr
    short = ["trainer.epochs=1", "data.per_class=10", "width=eighth"]
    sweep = ["ablation-train", "-m", "+section=norm,residual", "seed=0,1,2", *short, "hydra.launcher.jobs=2"]
    trained = outside(scripts, tmp_path, *sweep)
    assert (trained.returncode, trained.stderr) == (0, ""), trained.stderr
    assert "12 runs: 12 finished" in trained.stdout
    reported = outside(scripts, tmp_path, "ablation-report", *short, "report.name=demo")
    assert reported.returncode == 0, reported.stderr
    assert reported.stdout.endswith("wrote reports/demo/index.html\n")
    with (tmp_path / "reports/demo/effects.csv").open(newline="", encoding="utf-8") as file:
        assert {row["level"] for row in csv.DictReader(file)} >= {"instance", "none", "without"}
    run = next((tmp_path / "runs").glob("*-s0-*"))
    predicted = outside(scripts, tmp_path, "ablation-predict", f"run={run}", "out=test.txt")
    assert predicted.returncode == 0, predicted.stderr
    lines = (tmp_path / "test.txt").read_text().splitlines()
    assert len(lines) == N_TEST
    assert all(re.fullmatch(r"\S+\t\S.*", line) for line in lines)
    verified = outside(scripts, tmp_path, "ablation-verify", f"run={run}")
    assert verified.returncode == 0, verified.stderr


@pytest.mark.slow
def test_the_sdist_installs_and_holds_what_tests_and_make_need(tmp_path: Path) -> None:
    file = built("sdist", tmp_path)
    with tarfile.open(file) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"Makefile", "constraints.txt", "CITATION.cff", "SECURITY.md", "conf/config.yaml", "tests/conftest.py"}
    assert needed <= inside
    assert not [name for name in inside if name.startswith(("runs/", "reports/", ".venv"))]
    bin_folder = installed(file, tmp_path / "venv")
    planned = outside(bin_folder, tmp_path, "ablation-train", "-m", "+section=norm", "plan=true")
    assert "3 runs: 3 to train from the start; nothing was trained." in planned.stdout, planned.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_loads_no_torch(name: str, tmp_path: Path) -> None:
    assert no_torch(COMMANDS[name], ["--help"], tmp_path).strip()


def no_torch(module: str, arguments: list[str], folder: Path) -> str:
    """The output of a command that loads no torch; nothing else is on standard error."""
    code = f"{TELL_TORCH}; from ablation.{module} import main; sys.argv[1:] = {arguments}; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "False\n"), done.stderr
    return done.stdout


def test_the_package_alone_loads_nothing_heavy() -> None:
    code = "import sys, ablation; print(sorted({'torch', 'numpy', 'pandas', 'hydra', 'omegaconf'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_help_of_more_seeds_loads_no_pandas() -> None:
    code = "import sys, ablation.more_seeds; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_a_report_and_a_completion_load_no_torch(tmp_path: Path) -> None:
    write_sections(tmp_path / "runs", ["norm"], range(3), "trainer.epochs=2")
    assert "wrote " in no_torch("report", ["trainer.epochs=2"], tmp_path)
    assert no_torch("completion", ["complete", "ablation-train norm=ba"], tmp_path) == "norm=batch\n"


def test_the_citation_fits_the_package() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert cited["cff-version"] == "1.2.0"
    assert (cited["version"], cited["license"]) == (__version__, project["license"])
    assert [author["name"] for author in cited["authors"]] == ["The ablation developers"]
    assert cited["keywords"] == project["keywords"]


def test_continuous_integration_runs_the_targets_of_a_developer() -> None:
    content = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    (job,) = content["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert "make check test" in commands
    supported = re.findall(r":: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert job["strategy"]["matrix"]["python"] == supported
    assert content["permissions"] == {"contents": "read"}


def test_the_dockerfile_copies_what_is_there() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    assert any(line.startswith("USER ") and line != "USER root" for line in lines)
