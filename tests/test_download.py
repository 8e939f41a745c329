"""Downloads against servers on this machine that break off, lie, and know no ranges."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from layouts import fashion, noise, python_batch

from ablation import cifar, download, fashion_mnist
from ablation.cifar import index_cifar
from ablation.commandline import compose_config
from ablation.datachoice import DataConfig, DataName
from ablation.download import Remote, fetch
from ablation.errors import UserError
from ablation.fashion_mnist import index_fashion_mnist

CONTENT = noise(1, 300_000).tobytes()
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `content`, or files by path, and notes every request's path and Range."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content: dict[str, bytes] = {}
        self.ranges = True
        self.cuts: list[int] = []  # bytes after which the next answers end
        self.lie: str | None = None  # a Content-Range to send whatever is asked for
        self.pause = 0.0  # seconds between pieces
        self.asked: list[tuple[str, str | None]] = []

    def url(self, path: str = "file.bin") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append((self.path, wanted))
        content = server.content.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", server.lie or f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + server.cuts.pop(0) if server.cuts else len(content)
        for place in range(start, min(end, len(content)), 10_000):
            self.wfile.write(content[place : min(place + 10_000, end)])
            time.sleep(server.pause)

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client was killed
            super().handle()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "PAUSE", 0.0)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as found:
        found.content["/file.bin"] = CONTENT
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def remote(*urls: str, checksum: str = MD5, most: int = 400_000) -> Remote:
    return Remote("file.bin", checksum, urls, most)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"file.bin.lock"}


def test_a_file_comes_whole_and_once(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        path = fetch(remote(server.url()), tmp_path / "new" / "folder")
        assert path.read_bytes() == CONTENT
    assert server.asked == [("/file.bin", None)]
    assert names(path.parent) == {"file.bin"}
    assert capsys.readouterr().err == f"download {server.url()} to {path}\n"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_connection_goes_on_where_it_ended(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.ranges, server.cuts = ranges, [100_000, 50_000]
    assert fetch(remote(server.url()), tmp_path).read_bytes() == CONTENT
    asked = [wanted for _, wanted in server.asked]
    assert asked == [None, "bytes=100000-", "bytes=150000-" if ranges else "bytes=50000-"]


def test_a_part_of_an_earlier_command_is_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1234])
    assert fetch(remote(server.url()), tmp_path).read_bytes() == CONTENT
    assert server.asked == [("/file.bin", "bytes=1234-")]


def test_a_whole_part_needs_no_network(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert fetch(remote(server.url()), tmp_path).read_bytes() == CONTENT
    assert server.asked == []


@pytest.mark.parametrize("part", [b"x" * 1234, CONTENT[:99] + b"x", CONTENT + b"x", b"x" * 300_000, b"x" * 350_000])
def test_a_part_of_something_else_does_no_harm(server: Server, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "file.bin.part").write_bytes(part)
    assert fetch(remote(server.url()), tmp_path).read_bytes() == CONTENT
    assert names(tmp_path) == {"file.bin"}


def test_another_part_than_asked_for_is_not_appended(server: Server, tmp_path: Path) -> None:
    server.lie = "bytes 0-1/2"
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1234])
    assert fetch(remote(server.url()), tmp_path).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == ["bytes=1234-", None]


def test_mirrors_are_tried_in_order_and_told(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.content["/wrong"] = b"x" + CONTENT[1:]
    urls = [server.url("absent"), server.url("wrong"), "http://127.0.0.1:9/refused", server.url()]
    assert fetch(remote(*urls), tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in server.asked] == ["/absent", "/wrong", "/file.bin"]
    told = capsys.readouterr().err
    assert "HTTP 404 Not Found" in told
    assert f"another file: its MD5 is not {MD5}" in told


def test_where_no_mirror_has_it_every_reason_is_told_and_nothing_has_the_files_name(
    server: Server, tmp_path: Path
) -> None:
    server.content["/wrong"] = CONTENT[::-1]
    server.content["/long"] = CONTENT * 2
    with pytest.raises(UserError) as caught:
        fetch(remote(server.url("absent"), server.url("wrong"), server.url("long")), tmp_path)
    told = str(caught.value)
    for line in (
        f"{server.url('absent')}: HTTP 404 Not Found",
        f"{server.url('wrong')}: another file: its MD5 is not {MD5}",
        f"{server.url('long')}: more than 400,000 bytes, which the file does not have",
        "data.url=https://...",
    ):
        assert line in told
    assert names(tmp_path) == set()


def test_a_server_that_always_breaks_off_is_given_up_but_what_came_is_kept(server: Server, tmp_path: Path) -> None:
    server.cuts = [1000] * 10
    with pytest.raises(UserError, match=r"the connection ended after 4,000 of 300,000 bytes"):
        fetch(remote(server.url()), tmp_path)
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:4000]
    assert names(tmp_path) == {"file.bin.part"}


def test_a_silent_server_is_left(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.05)
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server.pause = 0.5
    with pytest.raises(UserError, match="no answer in time"):
        fetch(remote(server.url()), tmp_path)


def test_the_address_of_a_user_is_the_only_one_and_the_checksum_stays(server: Server, tmp_path: Path) -> None:
    known = remote("http://127.0.0.1:9/never")
    assert fetch(known, tmp_path / "a", server.url()).read_bytes() == CONTENT
    with pytest.raises(UserError) as caught:
        fetch(known, tmp_path / "b", server.url("absent"))
    assert "127.0.0.1:9" not in str(caught.value)
    server.content["/wrong"] = b"x"
    with pytest.raises(UserError, match="another file"):
        fetch(known, tmp_path / "c", server.url("wrong"))


def test_progress_is_told_a_line_at_a_time(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(download, "TELL_EVERY", 0.0)
    fetch(remote(server.url()), tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("  0.3 of 0.3 MB, ")


def test_a_folder_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file.bin cannot be written"):
        fetch(remote(server.url()), tmp_path / "file")


CHILD = """
import sys
from pathlib import Path
from ablation.download import Remote, fetch
url, checksum, folder = sys.argv[1:]
print("go", flush=True)
fetch(Remote("file.bin", checksum, (url,), 400_000), Path(folder))
"""


def child(server: Server, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, server.url(), MD5, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("size", [20_000, 150_000])
def test_a_download_that_is_killed_goes_on(server: Server, tmp_path: Path, size: int) -> None:
    server.pause = 0.02
    part = tmp_path / "file.bin.part"
    with child(server, tmp_path) as process:
        # The client's buffer is 64 KiB, so a smaller file on disk is one that holds nothing yet.
        wait_for(lambda: part.exists() and (part.stat().st_size >= size or size < 65_536))
        os.kill(process.pid, signal.SIGKILL)
    assert not (tmp_path / "file.bin").exists()
    kept = part.stat().st_size
    assert part.read_bytes() == CONTENT[:kept]
    server.pause = 0.0
    assert fetch(remote(server.url()), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == ("/file.bin", f"bytes={kept}-" if kept else None)


def test_of_two_downloads_at_once_one_goes_through_and_both_have_the_file(server: Server, tmp_path: Path) -> None:
    server.pause = 0.01
    with child(server, tmp_path) as one, child(server, tmp_path) as two:
        assert (one.wait(60), two.wait(60)) == (0, 0)
    assert server.asked == [("/file.bin", None)]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


# The sources


def cifar_archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
            content = python_batch(noise(10, 3072), range(10), "labels")
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("given", [True, False])
def test_cifar10_is_downloaded_when_allowed_and_found_without_network_later(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    archive = cifar_archive()
    server.content["/cifar-10-python.tar.gz"] = archive
    known = cifar._KINDS[DataName.cifar10]
    local = Remote("cifar-10-python.tar.gz", "md5:" + hashlib.md5(archive).hexdigest(), ("http://127.0.0.1:9/",), 10**9)
    changed = {**vars(known), "remote": local}
    monkeypatch.setitem(cifar._KINDS, DataName.cifar10, type(known)(**changed))
    root = str(tmp_path / "own") if given else None
    url = server.url("cifar-10-python.tar.gz")
    found = index_cifar(DataConfig(DataName.cifar10, root, download=True, url=url), tmp_path / "cache")
    again = index_cifar(DataConfig(DataName.cifar10, root), tmp_path / "cache")
    assert found.train == again.train
    assert len(found.train) == 50
    assert len(server.asked) == 1
    folder = tmp_path / "own" if given else tmp_path / "cache" / "downloads" / "cifar10"
    assert (folder / "cifar-10-python.tar.gz").read_bytes() == archive


def test_fashion_mnist_is_downloaded_when_allowed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = (noise(20, 28, 28), [*range(10), *range(10)])
    fashion(tmp_path / "original", {"train": part, "t10k": part}, packed=True)
    for path in (tmp_path / "original").iterdir():
        server.content[f"/mirror/{path.name}"] = path.read_bytes()
        monkeypatch.setitem(fashion_mnist.REMOTES, path.stem, hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    for slash in ("", "/"):
        data = DataConfig(DataName.fashion_mnist, download=True, url=server.url("mirror") + slash)
        assert len(index_fashion_mnist(data, tmp_path / "cache").train) == 20
    assert sorted(path for path, _ in server.asked) == sorted(server.content.keys() - {"/file.bin"})


def test_the_known_files_are_those_of_torchvision() -> None:
    """Checksums and addresses against the package that gives them."""
    from torchvision import datasets

    assert dict(datasets.FashionMNIST.resources) == {f"{name}.gz": md5 for name, md5 in fashion_mnist.REMOTES.items()}
    assert datasets.FashionMNIST.mirrors == [fashion_mnist._BASE]
    for name, theirs in ((DataName.cifar10, datasets.CIFAR10), (DataName.cifar100, datasets.CIFAR100)):
        ours = cifar._KINDS[name]
        assert ours.remote.checksum == f"md5:{theirs.tgz_md5}"
        assert (ours.remote.name, ours.remote.urls[-1], ours.python) == (
            theirs.filename,
            theirs.url,
            theirs.base_folder,
        )
        assert [*ours.train, ours.test] == [file for file, _ in theirs.train_list + theirs.test_list]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=imagefolder", "data.root=/x", "data.download=true"], "data=imagefolder is not downloaded"),
        (["data.download=true"], "data=fashion_mini is not downloaded .docs/data.md .*cifar100 are"),
        (
            ["data=cifar10", "data.url=https://x/y"],
            "data.url=https://x/y: it is where data.download=true downloads from",
        ),
        (["data=cifar10", "data.download=true", "data.url='file:///etc/passwd'"], "begin with https:// or http://"),
        *(([f"data={name}"], f"data={name} needs data.root=/path") for name in ("csv", "parquet", "tiny_imagenet")),
    ],
)
def test_a_download_that_makes_no_sense_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compose_config(overrides)
