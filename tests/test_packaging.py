import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed content of a wheel built from this tree, unpacked into a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


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
    scripts = (metadata / "entry_points.txt").read_text()
    for command in ("train", "report", "predict", "verify"):
        assert f"ablation-{command} = ablation.{command}:main" in scripts
