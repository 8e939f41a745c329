"""What SECURITY.md promises, as far as no other test file holds it, and that each promise names tests that exist."""

import ast
import io
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from ablation import report
from ablation.checkpoint import CheckpointError, load_last_weights
from ablation.commandline import check_overrides, compose_config
from ablation.errors import UserError
from ablation.terminal import plain
from ablation.unpack import untarred
from tests.factory import write_sections

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "ablation").rglob("*.py"))
PROMISES = (
    (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("## What is not promised")[0].split("\n- **")[1:]
)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda text: text.partition(".")[0])
def test_each_promise_names_tests_that_exist(promise: str) -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", promise)
    assert named
    for file, test in named:
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), test


def test_the_code_holds_nothing_that_runs_what_it_reads() -> None:
    """Nothing unpickles, evaluates, starts a shell or extracts whole archives; torch.load takes weights only."""
    forbidden = {"eval", "exec", "compile", "os.system", "os.popen", "pickle.load", "pickle.loads", "yaml.load",
                 "yaml.unsafe_load", "yaml.full_load", "shelve.open", "marshal.loads", "tempfile.mktemp",
                 "hydra.utils.instantiate", "instantiate", "joblib.load"}  # fmt: skip
    loads = 0
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name, given = ast.unparse(node.func), {item.arg: ast.unparse(item.value) for item in node.keywords}
            assert name not in forbidden, f"{path.name}: {name}"
            assert not name.endswith((".extractall", ".extract")), f"{path.name}: {name}"
            assert given.get("shell") is None, f"{path.name}: shell"
            assert given.get("allow_pickle", "False") == "False", f"{path.name}: allow_pickle"
            if name == "torch.load":
                loads += 1
                assert given["weights_only"] == "True", path.name
    assert loads == 1


class Evil:
    """Makes a folder where it is unpickled."""

    def __init__(self, sign: Path):
        self.sign = sign

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.sign),)


def test_a_checkpoint_that_would_run_a_command_runs_nothing(tmp_path: Path) -> None:
    path, sign = tmp_path / "last.pt", tmp_path / "sign"
    torch.save({"model": Evil(sign)}, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_last_weights(path, nn.Linear(1, 1))
    assert not sign.exists()
    torch.load(path, weights_only=False)  # the command is really in there
    assert sign.exists()


@pytest.mark.parametrize(
    "text",
    [
        "+hydra.callbacks.mine._target_=os.system",
        "+hydra.callbacks={a:1}",
        "hydra.launcher._target_=os.system",
        "hydra.searchpath=[file:///elsewhere]",
        "+hydra.job.x={_target_:os.system}",
    ],
)
@pytest.mark.parametrize("sweep", [True, False])
def test_an_override_that_names_code_is_refused(text: str, sweep: bool) -> None:
    with pytest.raises(UserError, match="Leave this out"):
        check_overrides([text], sweep=sweep)


HOSTILE = "a\x1b[31mred\x1b[0m\x9b2J\x07\r\u202egnp\x00"


def test_control_characters_are_written_out_and_nothing_else_is() -> None:
    assert plain(HOSTILE) == r"a\x1b[31mred\x1b[0m\x9b2J\x07\r\u202egnp\x00"
    assert plain("größe\t猫 −1.5 ✓\n") == "größe\t猫 −1.5 ✓\n"


def test_control_characters_in_names_reach_no_terminal(tmp_path: Path) -> None:
    """A folder, a level of a table and a class of that name, in what is done and in what is refused."""
    name = HOSTILE.replace("\x00", "")
    table = "".join(f"{level},{seed},0.{seed + 5}\n" for level in ("plain", f'"{name}"') for seed in range(3))
    (tmp_path / "table.csv").write_text(f"norm,seed,accuracy\n{table}", encoding="utf-8", newline="")
    (tmp_path / name / "train").mkdir(parents=True)
    said = b""
    for arguments in (
        ["ablation.report", "report.from=csv", "report.path=table.csv", "report.base={norm: plain}"],
        ["ablation.predict", f"images={tmp_path / name}", f"run={name}"],
        ["ablation.data", "check", "data=imagefolder", f'data.root="{tmp_path / name}"'],
        ["ablation.train", f"norm={name}"],
    ):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
        assert b"Traceback" not in done.stderr, done.stderr
        said += done.stdout + done.stderr
    assert said.count(rb"a\x1b[31mred") >= 3
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80\xae", said), said


def test_an_archive_writes_nothing_but_the_files_that_are_wanted(tmp_path: Path) -> None:
    path, outside = tmp_path / "a.tar.gz", tmp_path / "outside"
    with tarfile.open(path, "w:gz") as archive:
        for name, kind in (
            ("../outside", tarfile.REGTYPE), ("/outside", tarfile.REGTYPE), ("x/../../outside", tarfile.REGTYPE),
            ("x/one", tarfile.SYMTYPE), ("other/one", tarfile.REGTYPE),
        ):  # fmt: skip
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.linkname = kind, 3 * (kind == tarfile.REGTYPE), str(outside)
            archive.addfile(entry, io.BytesIO(b"abc"))
    folder = untarred(path, ["one"], tmp_path / "cache")
    assert [(item.name, item.is_symlink(), item.read_bytes()) for item in folder.iterdir()] == [("one", False, b"abc")]
    assert not outside.exists()
    with pytest.raises(UserError, match="does not hold two"):
        untarred(path, ["two"], tmp_path / "other")


def test_a_report_writes_and_removes_nothing_behind_a_link(tmp_path: Path) -> None:
    folder, outside = tmp_path / "report", tmp_path / "outside"
    for path in (folder, outside):
        path.mkdir()
    (outside / "mine.txt").write_text("kept")
    (folder / "figures").symlink_to(outside)
    (folder / "report.json").write_text('{"files": ["figures/mine.txt", "../outside/mine.txt", "old.txt"]}')
    (folder / "old.txt").write_text("of an earlier report")
    with pytest.raises(UserError, match="leads out of the report's folder"):
        report.write(folder, {"a.txt": b"a", "figures/mine.txt": b"no"}, {})
    assert (outside / "mine.txt").read_text() == "kept"
    assert not (folder / "old.txt").exists()
    (folder / "figures").unlink()
    report.write(folder, {"figures/mine.txt": b"yes"}, {})
    assert (folder / "figures" / "mine.txt").read_bytes() == b"yes"


@pytest.mark.parametrize("address", ["https://me:hunter2@host/x", "https://hunter2@host/x", "http://h/x?key=hunter2"])
@pytest.mark.parametrize("download", ["true", "false"])
def test_an_address_with_a_secret_is_neither_taken_nor_shown(address: str, download: str) -> None:
    with pytest.raises(UserError, match="which would be stored with every run") as caught:
        compose_config(["data=cifar10", f"data.download={download}", f'data.url="{address}"'])
    assert "hunter2" not in str(caught.value)
    compose_config(["data=cifar10", "data.download=true", 'data.url="https://host/x@y/z"'])


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("report.path", "is an address, and files are read here"),
        ("data.root", "is an address, and files are read here"),
        ("logger.mlflow_uri", "holds a password"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "ftp", "postgresql+psycopg2"])
def test_a_password_in_an_address_is_not_shown_where_no_address_belongs(
    setting: str, reason: str, scheme: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the command that refuses it, whose output may be a log that others read."""
    data = ["data=imagefolder"] if setting == "data.root" else []
    for quote in ("", '"'):
        assert report.main([*data, f"{setting}={quote}{scheme}://me:hunter2@host/x{quote}"]) == 2
        told = capsys.readouterr()
        assert reason in told.err
        assert "hunter2" not in told.err + told.out


@pytest.mark.slow
def test_training_and_report_open_no_connection(tmp_path: Path) -> None:
    """With every way out of the process shut: an AF_INET socket ends it."""
    code = """
import socket, sys
real = socket.socket
class Shut(real):
    def connect(self, address):
        if self.family != socket.AF_UNIX:
            sys.exit(f"connects to {address}")
        return super().connect(address)
socket.socket = Shut
socket.getaddrinfo = lambda *_, **__: sys.exit("asks for an address")
from ablation import report, train
code = train.main(["trainer.epochs=1", "data.per_class=5", "width=eighth", "trainer.threads=1"])
sys.exit(code or report.main(["trainer.epochs=1", "data.per_class=5", "width=eighth"]))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "wrote reports/" in done.stdout


def test_no_temporary_file_has_a_name_that_others_know() -> None:
    """Folders for temporary files of everybody are named nowhere; `tempfile` makes what is outside of our own."""
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"gettempdir|mktemp\(|[\"']/(?:tmp|var/tmp|dev/shm)\b", text), path.name


def test_the_page_loads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_sections(tmp_path / "runs", ["norm"], range(3), "trainer.epochs=2")
    assert report.main(["trainer.epochs=2", "report.name=r"]) == 0
    text = Path("reports/r/index.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.search(
        r"<link|<iframe|<object|<embed|<base|@import|\bsrc=[\"'](?!data:)|url\((?!#|[\"']?data:)", text
    )


def test_a_zip_bomb_in_the_place_of_predictions_is_no_array(tmp_path: Path) -> None:
    from ablation.images import read_predictions

    with zipfile.ZipFile(tmp_path / "predictions.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "target.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
        )
    assert read_predictions(str(tmp_path), 0.5) is None


MADE_HERE = re.compile(r"(?<![\w})\].~$\\/:-])/(?:home|root|Users|tmp|work|mnt|srv|private|var/folders)/[\w.-]+")


def test_no_tracked_file_holds_a_path_of_the_machine_it_was_made_on() -> None:
    """Home folders, temporary ones, places of work: whoever has the tree elsewhere has none of them."""
    if not (ROOT / ".git").exists():
        pytest.skip("a tree without its repository")
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=True).stdout
    here = {str(ROOT), str(Path.home()), sys.prefix, os.path.realpath(ROOT)} - {"/", "/usr", "/usr/local"}
    found = []
    for name in filter(None, listed.decode().split("\0")):
        text = (ROOT / name).read_bytes().decode("latin-1") if (ROOT / name).is_file() else ""
        hits = [*MADE_HERE.findall(text), *(place for place in here if place + "/" in text)]
        found += [f"{name}: {hit}" for hit in hits]
    assert not found


def test_the_rule_for_paths_knows_them() -> None:
    slash = "/"
    for place in ("home/me/x", "root/.cache", "Users/me", "tmp/w", "work/main"):
        assert MADE_HERE.search(f'"{slash}{place}"'), place
    for text in ("https://host/home/x", "$PWD/tmp/x", "../tmp/x", "~/work/x", "/path/to/images", "{short}/home/slurm"):
        assert not MADE_HERE.search(text), text
