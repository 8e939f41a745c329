"""The fingerprint of a listing, the store of decoded images that runs share, and the cache folder they lie in."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ablation import cachefolder, imagefolder, lookahead, store, storewriter
from ablation.cachefolder import clean_cache, locked
from ablation.decode import decode_image as decode_content
from ablation.errors import UserError
from ablation.imagefolder import index_folder
from ablation.listing import Listing, Unreadable
from ablation.store import default_cache_dir, fingerprint, open_store
from tests.layouts import GREEN, RED, paint, red_cats_green_dogs

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return red_cats_green_dogs(tmp_path / "images")


def never(*_: object) -> None:
    raise AssertionError("decoded again")


# The fingerprint


def test_the_fingerprint_is_16_hexadecimal_digits(root: Path, cache: Path) -> None:
    found = fingerprint(index_folder(root), cache)
    assert len(found) == 16
    assert set(found) <= set("0123456789abcdef")


def rename_file(root: Path) -> None:
    (root / "train/cat/1.png").rename(root / "train/cat/0.png")


def rename_class(root: Path) -> None:
    for split in ("train", "val"):
        (root / split / "cat").rename(root / split / "bat")


def move_to_other_class(root: Path) -> None:
    (root / "train/cat/2.png").rename(root / "train/dog/9.png")


def move_to_other_split(root: Path) -> None:
    (root / "train/cat/2.png").rename(root / "val/cat/2.png")


def change_a_byte(root: Path) -> None:
    path = root / "train/cat/1.png"
    content, entry = bytearray(path.read_bytes()), path.stat()
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(entry.st_atime_ns, entry.st_mtime_ns + 1))


def add_a_file(root: Path) -> None:
    paint(root / "val/dog/9.png")


def remove_a_file(root: Path) -> None:
    (root / "train/dog/2.png").unlink()


def swap_contents(root: Path) -> None:
    one, other = root / "train/cat/1.png", root / "train/dog/1.png"
    one.rename(root / "aside")
    other.rename(one)
    (root / "aside").rename(other)


@pytest.mark.parametrize(
    "change",
    [
        rename_file,
        rename_class,
        move_to_other_class,
        move_to_other_split,
        change_a_byte,
        add_a_file,
        remove_a_file,
        swap_contents,
    ],
)
def test_the_fingerprint_changes_with_names_classes_and_contents(
    change: Callable[[Path], None], root: Path, cache: Path
) -> None:
    before = fingerprint(index_folder(root), cache)
    change(root)
    assert fingerprint(index_folder(root), cache) != before


def touch_everything(root: Path) -> Path:
    for file in root.rglob("*.png"):
        os.utime(file, ns=(1, 10**18))
    return root


def move_away(root: Path) -> Path:
    return root.rename(root.with_name("moved away"))


def link_to(root: Path) -> Path:
    root.with_name("link").symlink_to(root, target_is_directory=True)
    return root.with_name("link")


def add_what_does_not_count(root: Path) -> Path:
    paint(root / "test" / "1.png")
    (root / "train/cat/notes.txt").write_text("x")
    return root


@pytest.mark.parametrize("change", [touch_everything, move_away, link_to, add_what_does_not_count])
def test_the_fingerprint_stays_when_only_times_place_or_other_files_change(
    change: Callable[[Path], Path], root: Path, cache: Path
) -> None:
    before = fingerprint(index_folder(root), cache)
    assert fingerprint(index_folder(change(root)), cache) == before


def test_the_fingerprint_does_not_depend_on_what_the_cache_remembers(root: Path, tmp_path: Path) -> None:
    index = index_folder(root)
    first = fingerprint(index, tmp_path / "one")
    assert fingerprint(index, tmp_path / "one") == first == fingerprint(index, tmp_path / "other")


def test_files_are_read_once_for_the_fingerprint(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(index_folder(root), cache)
    monkeypatch.setattr(imagefolder, "digest_content", never)
    assert fingerprint(index_folder(root), cache) == before


def test_a_file_that_may_not_be_read_is_listed_with_the_others_until_it_may(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = os.open

    def forbidden(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("cat/1.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return honest(path, *arguments, **options)

    (root / "val/dog/3.png").write_bytes(b"")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", forbidden)
        for _ in range(2):
            skipped = open_store(index_folder(root), 12, cache).skipped
            assert skipped == {"train/cat/1.png": "permission denied", "val/dog/3.png": "empty, 0 bytes"}
    assert open_store(index_folder(root), 12, cache).skipped == {"val/dog/3.png": "empty, 0 bytes"}


def test_a_cache_folder_that_cannot_be_made_is_refused_with_the_setting_that_moves_it(
    root: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"data\.cache_dir=/path"):
        fingerprint(index_folder(root), tmp_path / "file" / "cache")


# The store


def test_the_store_holds_every_image_with_its_label_in_the_order_of_the_index(root: Path, cache: Path) -> None:
    opened = open_store(index_folder(root), 12, cache)
    assert opened.images["train"].shape == (4, 12, 12, 3)
    assert opened.images["train"][:, 0, 0].tolist() == [list(RED), list(RED), list(GREEN), list(GREEN)]
    assert opened.labels["train"].tolist() == [0, 0, 1, 1]
    assert opened.images["val"][:, 5, 5].tolist() == [list(RED), list(GREEN)]
    assert opened.labels["val"].tolist() == [0, 1]
    assert opened.labels["train"].dtype == np.int64
    assert opened.skipped == {}


def test_the_images_of_a_store_are_read_only_memory_maps(root: Path, cache: Path) -> None:
    opened = open_store(index_folder(root), 12, cache)
    for images in opened.images.values():
        assert isinstance(images, np.memmap)
        assert not images.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            images[0] = 0


def test_a_second_opening_decodes_nothing(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_store(index_folder(root), 12, cache)
    monkeypatch.setattr(imagefolder, "decode_image", never)
    second = open_store(index_folder(root), 12, cache)
    assert second.folder == first.folder
    assert (second.images["train"] == first.images["train"]).all()


def test_a_copy_of_the_folder_shares_the_store(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_store(index_folder(root), 12, cache)
    shutil.copytree(root, root.with_name("copy"))
    monkeypatch.setattr(imagefolder, "decode_image", never)
    assert open_store(index_folder(root.with_name("copy")), 12, cache).folder == first.folder


def test_another_image_size_is_another_store(root: Path, cache: Path) -> None:
    index = index_folder(root)
    small, large = open_store(index, 8, cache), open_store(index, 16, cache)
    assert small.folder != large.folder
    assert (small.images["val"].shape, large.images["val"].shape) == ((2, 8, 8, 3), (2, 16, 16, 3))


def test_an_unreadable_file_is_left_out_with_its_label_and_named(root: Path, cache: Path) -> None:
    (root / "train/cat/2.png").write_bytes(b"broken")
    (root / "val/cat/3.png").write_bytes(b"")
    opened = open_store(index_folder(root), 12, cache)
    assert list(opened.skipped) == ["train/cat/2.png", "val/cat/3.png"]
    assert opened.labels["train"].tolist() == [0, 1, 1]
    assert opened.images["train"][:, 0, 0].tolist() == [list(RED), list(GREEN), list(GREEN)]
    assert opened.labels["val"].tolist() == [1]
    assert opened.images["val"][:, 0, 0].tolist() == [list(GREEN)]
    assert open_store(index_folder(root), 12, cache).skipped == opened.skipped


def renamed_to_latin_1(path: Path) -> Path:
    """The file or folder under a name that is no UTF-8 text."""
    try:
        return path.rename(path.with_name(f"caf{chr(0xDCE9)}{path.suffix}"))
    except OSError:
        pytest.skip("this file system takes text only")


def test_an_unreadable_file_whose_name_is_no_text_is_named_all_the_same(root: Path, cache: Path) -> None:
    renamed_to_latin_1(root / "train/cat/2.png").write_bytes(b"broken")
    assert open_store(index_folder(root), 12, cache).skipped.keys() == {"train/cat/caf\\udce9.png"}


def test_a_file_whose_name_is_no_text_is_an_image_like_any_other(root: Path, cache: Path) -> None:
    renamed_to_latin_1(root / "train/cat/2.png")
    assert open_store(index_folder(root), 12, cache).labels["train"].tolist() == [0, 0, 1, 1]


def test_a_class_whose_name_is_no_text_is_refused(root: Path) -> None:
    renamed_to_latin_1(root / "train/cat")
    with pytest.raises(UserError, match=r"train/caf\\udce9 is no UTF-8 text"):
        index_folder(root)


def test_a_build_that_is_broken_off_leaves_nothing_that_looks_like_a_store(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_json", broken)
        patch.setattr(store, "_fingerprint", lambda *_: "0123456789abcdef")
        with pytest.raises(KeyboardInterrupt):
            open_store(index_folder(root), 12, cache)
    assert [path for path in (cache / "images").iterdir() if path.is_dir()] == []
    assert len(open_store(index_folder(root), 12, cache).labels["train"]) == 4


BUILD = """
import hashlib, sys, time
from pathlib import Path
from ablation import imagefolder, store
decode = imagefolder.decode_image
def slow(content, size):
    time.sleep(0.02)
    return decode(content, size)
imagefolder.decode_image = slow
index = imagefolder.index_folder(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
store = store.open_store(index, 12, Path(sys.argv[2]))
content = b"".join(store.images[split].tobytes() + store.labels[split].tobytes() for split in ("train", "val"))
print(store.folder.name, len(store.labels["train"]), hashlib.sha256(content).hexdigest(), flush=True)
"""


def test_processes_that_build_at_once_get_one_and_the_same_store(tmp_path: Path, cache: Path) -> None:
    for number in range(12):
        for split, name in (("train", "cat"), ("train", "dog"), ("val", "dog")):
            paint(tmp_path / "images" / split / name / f"{number}.png", (number * 20, 10, 10))
    command = [sys.executable, "-c", BUILD, str(tmp_path / "images"), str(cache)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(set(answers)) == 1
    assert answers[0].split()[1] == "24"
    assert len([path for path in (cache / "images").iterdir() if path.is_dir()]) == 1


def test_a_value_is_computed_once_and_remembered_bit_equal(root: Path, cache: Path) -> None:
    index = index_folder(root)
    assert open_store(index, 12, cache).remember("third", lambda: [1 / 3]) == [1 / 3]
    assert open_store(index, 12, cache).remember("third", never) == [1 / 3]


def test_the_cache_lies_where_the_user_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    assert default_cache_dir() == cache
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert default_cache_dir() == tmp_path / ".cache" / "ablation"

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(UserError, match=r"no home folder .* data\.cache_dir=/path"):
        default_cache_dir()


def test_the_store_says_what_it_was_made_of(root: Path, cache: Path) -> None:
    opened = open_store(index_folder(root), 12, cache)
    meta = json.loads((opened.folder / "meta.json").read_text(encoding="utf-8"))
    assert (meta["classes"], meta["skipped"]) == (["cat", "dog"], {})


def test_what_pillow_finds_odd_in_a_file_warns_nobody(root: Path, cache: Path) -> None:
    Image.new("RGB", (12, 12), RED).save(root / "train/cat/7.tif")
    whole = (root / "train/cat/7.tif").read_bytes()
    (root / "train/cat/7.tif").write_bytes(whole[:60])
    with pytest.warns(UserWarning, match="Truncated"), pytest.raises(Unreadable):
        decode_content((root / "train/cat/7.tif").read_bytes(), 12)
    assert open_store(index_folder(root), 12, cache).skipped.keys() == {"train/cat/7.tif"}


# The labels that names do not tell


@dataclass(frozen=True)
class Numbers:
    """A reader of images that are numbers: grey, one value each; `odd` ones cannot be read."""

    unreadable: frozenset[str] = frozenset()
    changes: Callable[[], int] = lambda: 0
    channels: int = 1

    def stamps(self, names: Iterable[str]) -> list[tuple[str, int, int]]:
        return [(name, 1, self.changes()) for name in names]

    def digest(self, name: str) -> bytes:
        return name.encode()

    def pixels(self, name: str, size: int) -> np.ndarray:
        if name in self.unreadable:
            raise Unreadable("odd")
        return np.full((size, size, 1), int(name) % 256, np.uint8)


def numbers(count: int, classes: int = 2, n_val: int = 2, **options: Any) -> Listing:
    """A listing without a file: image k has the value k and the label k modulo classes."""
    labelled = tuple((str(k), k % classes) for k in range(count + n_val))
    names = tuple(f"c{k}" for k in range(classes))
    return Listing(Path("/nowhere"), names, labelled[:count], labelled[count:], Numbers(**options))


def test_labels_classes_and_splits_that_names_do_not_tell_are_part_of_the_fingerprint(cache: Path) -> None:
    listing = numbers(6)
    relabelled = replace(listing, train=tuple((name, 1 - label) for name, label in listing.train))
    renamed = replace(listing, classes=("c0", "c2"))
    moved = replace(listing, train=listing.train[:-1], val=(listing.train[-1], *listing.val))
    found = [fingerprint(one, cache) for one in (listing, relabelled, renamed, moved)]
    assert len(set(found)) == 4
    opened = [open_store(one, 8, cache) for one in (listing, relabelled, moved)]
    assert [one.labels["train"].tolist() for one in opened] == [[0, 1, 0, 1, 0, 1], [1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0]]


def test_images_of_one_file_are_told_apart_by_their_names(cache: Path) -> None:
    class OneFile(Numbers):
        def stamps(self, names: Iterable[str]) -> list[tuple[str, int, int]]:
            return [("data.bin", 1, 1)]

    def some(*chosen: int) -> Listing:
        files = tuple((f"train/c0/{k}", 0) for k in chosen)
        return Listing(Path("/nowhere"), ("c0",), files, (), OneFile())

    assert len({fingerprint(some(*chosen), cache) for chosen in ((1, 2), (1, 3), (2, 1), (1,), (1, 2))}) == 4


def test_a_folder_whose_names_tell_all_has_the_fingerprint_it_always_had(root: Path, cache: Path) -> None:
    import hashlib

    total = hashlib.sha256()
    for name in ("cat/1", "cat/2", "dog/1", "dog/2", "cat/3", "dog/3"):
        name = f"{'val' if '3' in name else 'train'}/{name}.png"
        total.update(name.encode() + b"\0" + hashlib.sha256((root / name).read_bytes()).digest())
    assert fingerprint(index_folder(root), cache) == total.hexdigest()[:16]


def test_a_file_that_comes_with_the_old_time_and_size_is_noticed(root: Path, cache: Path) -> None:
    path = root / "train/cat/1.png"
    before, entry = fingerprint(index_folder(root), cache), path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(entry.st_atime_ns, entry.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (entry.st_size, entry.st_mtime_ns)
    assert fingerprint(index_folder(root), cache) != before


def test_a_remembered_fingerprint_that_is_damaged_is_computed_again(root: Path, cache: Path) -> None:
    before = fingerprint(index_folder(root), cache)
    for content in (b"", b"\0" * 80, b"{}", b'{"fingerprint": "12"}', b"[1]", b"\xff"):
        for path in (cache / "fingerprints").iterdir():
            path.write_bytes(content)
        assert fingerprint(index_folder(root), cache) == before


# The store as it is written


def test_unreadable_images_take_no_row_wherever_they_are(cache: Path) -> None:
    for bad in ({"0"}, {"9"}, {"3", "4"}, {str(k) for k in range(10)}, {"10", "11"}, set()):
        opened = open_store(numbers(10, unreadable=frozenset(bad)), 8, cache / str(len(bad)) / "".join(sorted(bad)))
        kept = [k for k in range(10) if str(k) not in bad]
        assert opened.images["train"][:, 0, 0, 0].tolist() == kept
        assert opened.images["train"].shape == (len(kept), 8, 8, 1)
        assert opened.labels["train"].tolist() == [k % 2 for k in kept]
        assert opened.images["val"][:, 7, 7, 0].tolist() == [k for k in (10, 11) if str(k) not in bad]
        assert opened.skipped == {str(k): "odd" for k in range(12) if str(k) in bad}


def test_a_source_without_a_val_split_has_an_empty_one(cache: Path) -> None:
    for _ in range(2):
        opened = open_store(numbers(5, n_val=0), 8, cache)
        assert (opened.images["val"].shape, opened.labels["val"].shape) == ((0, 8, 8, 1), (0,))


@pytest.mark.parametrize("block", [1, 64, 100, 640, 1 << 20])
def test_rows_and_their_checksums_do_not_depend_on_the_blocks(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zlib

    monkeypatch.setattr(storewriter, "BLOCK", block)
    listing = numbers(10)
    facts, skipped = storewriter.write_split(tmp_path, "train", listing.train, listing.reader, 8)
    whole = np.arange(10, dtype=np.uint8).repeat(64).tobytes()
    assert np.load(tmp_path / "train.npy").tobytes() == whole
    assert facts["blocks"] == [zlib.crc32(whole[k : k + block]) for k in range(0, 640, block)]
    assert (facts["shape"], skipped) == ([10, 8, 8, 1], {})
    assert storewriter.damage(tmp_path, "train", facts) is None


def test_a_store_is_an_ordinary_array_file_with_what_numpy_itself_would_write(root: Path, cache: Path) -> None:
    opened = open_store(index_folder(root), 12, cache)
    for split in ("train", "val"):
        own = cache / "own.npy"
        np.save(own, np.asarray(opened.images[split]))
        assert own.read_bytes() == (opened.folder / f"{split}.npy").read_bytes()


# A damaged store


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def zeros(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


def flip_first(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)


def flip_last(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)


def gone(path: Path) -> None:
    path.unlink()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("harm", [cut, empty, longer, zeros, flip_first, flip_last, gone])
@pytest.mark.parametrize("file", ["train.npy", "val.npy", "train_labels.npy", "val_labels.npy", "meta.json"])
def test_a_store_with_a_damaged_file_is_built_anew_with_one_notice(
    harm: Callable[[Path], None], file: str, root: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = index_folder(root)
    folder = open_store(listing, 12, cache).folder
    before = contents(folder)
    harm(folder / file)
    assert open_store(listing, 12, cache).folder == folder
    assert contents(folder) == before
    notice = capsys.readouterr().err
    assert notice.count("\n") == 1
    assert f"{folder} are damaged (" in notice
    open_store(listing, 12, cache)
    assert capsys.readouterr().err == ""
    assert [path.name for path in folder.parent.iterdir() if path.suffix == ".tmp"] == []


def test_a_change_in_what_is_kept_of_unreadable_files_is_noticed(root: Path, cache: Path) -> None:
    (root / "val/cat/3.png").write_bytes(b"")
    opened = open_store(index_folder(root), 12, cache)
    path = opened.folder / "meta.json"
    path.write_text(path.read_text().replace("empty, 0 bytes", "empty, 1 bytes"))
    assert open_store(index_folder(root), 12, cache).skipped == opened.skipped == {"val/cat/3.png": "empty, 0 bytes"}


def test_a_store_of_another_version_under_this_name_is_built_anew(root: Path, cache: Path) -> None:
    folder = open_store(index_folder(root), 12, cache).folder
    meta = json.loads((folder / "meta.json").read_text())
    meta["version"] += 1
    meta["digest"] = storewriter.facts_digest({key: meta[key] for key in meta if key != "digest"})
    (folder / "meta.json").write_text(json.dumps(meta))
    open_store(index_folder(root), 12, cache)
    assert json.loads((folder / "meta.json").read_text())["version"] == store.STORE_VERSION


def test_of_a_large_store_the_ends_and_other_blocks_each_time_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    assert storewriter._sample(0) == []
    assert storewriter._sample(32) == list(range(32))
    drawn = [storewriter._sample(1000) for _ in range(200)]
    for sample in drawn:
        assert {0, 999} <= set(sample)
        assert (len(set(sample)), sample) == (32, sorted(sample))
    assert len({number for sample in drawn for number in sample}) > 950  # all but 1000 * 0.97 ** 200 = 2 are expected


def test_a_damaged_value_that_was_remembered_is_computed_again(root: Path, cache: Path) -> None:
    opened = open_store(index_folder(root), 12, cache)
    opened.remember("third", lambda: [1 / 3])
    for content in (b"", bytes(20), b"[0.3"):
        (opened.folder / "third.json").write_bytes(content)
        assert opened.remember("third", lambda: [1 / 3]) == [1 / 3]
    assert opened.remember("third", never) == [1 / 3]


def test_a_value_is_given_also_where_it_cannot_be_kept(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_store(index_folder(root), 12, cache)

    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(store, "write_json", read_only)
    assert opened.remember("third", lambda: (1, 2)) == [1, 2]


# A disk that refuses


def test_too_little_space_is_one_message_before_anything_is_decoded(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = numbers(10**6, n_val=0)
    monkeypatch.setattr(store, "_stamps_key", lambda _: "0" * 32)
    monkeypatch.setattr(store, "_fingerprint", lambda *_: "0" * 16)
    monkeypatch.setattr(Numbers, "pixels", never)
    usage = shutil.disk_usage(cache.parents[1])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**9))
    with pytest.raises(UserError, match=r"need 4\.11 GB in .*/images, where 1 GB are free.*data\.cache_dir=/path"):
        open_store(listing, 64, cache)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**10))
    with pytest.raises(AssertionError, match="decoded again"):
        open_store(listing, 64, cache)


FULL = """
import resource, sys
from pathlib import Path
from ablation.errors import UserError
from ablation.imagefolder import index_folder
from ablation.store import fingerprint, open_store
root, cache = map(Path, sys.argv[1:])
listing = index_folder(root)
fingerprint(listing, cache)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(200_000), resource.RLIM_INFINITY))
try:
    open_store(listing, 256, cache)
except UserError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print([path.name for path in (cache / "images").iterdir() if path.is_dir()])
print(len(open_store(listing, 256, cache).labels["train"]))
"""


def test_a_disk_that_fills_up_in_the_middle_is_one_message_and_leaves_nothing(root: Path, cache: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(root), str(cache)], capture_output=True, text=True, check=True
    )
    message, left, count = done.stdout.splitlines()
    assert message.startswith(f"The cache cannot be written at {cache}/images/")
    assert "data.cache_dir=/path" in message
    assert (left, count, done.stderr) == ("[]", "4", "")


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_one_message(
    code: int, root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_json", refused)
        with pytest.raises(UserError, match=rf"{cache}/fingerprints: {os.strerror(code)}\..*data\.cache_dir=/path"):
            fingerprint(index_folder(root), cache)
    fingerprint(index_folder(root), cache)
    with monkeypatch.context() as patch:
        patch.setattr(cachefolder.os, "open", refused)
        with pytest.raises(UserError, match=rf"{cache}/images: {os.strerror(code)}\..*data\.cache_dir=/path"):
            open_store(index_folder(root), 12, cache)


def test_a_cache_inside_the_data_folder_is_refused(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(root.rglob("*"))
    (tmp_path / "link").symlink_to(root / "train", target_is_directory=True)
    for inside in (root, root / "cache", root / "train" / "..", tmp_path / "link" / "cache"):
        for use in (lambda: fingerprint(index_folder(root), inside), lambda: open_store(index_folder(root), 8, inside)):  # noqa: B023
            with pytest.raises(UserError, match=r"lies inside the data folder .*, which is never written to"):
                use()
    assert sorted(root.rglob("*")) == before
    open_store(index_folder(root), 8, root.with_name("images-cache"))
    # The user's own cache folder may lie below the data: a list of images in the home folder is data of this kind.
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "home" / ".cache"))
    open_store(index_folder(root), 8, default_cache_dir())


def test_images_that_change_while_they_are_read_are_refused(cache: Path) -> None:
    clock = iter(range(10**6))
    with pytest.raises(UserError, match=r"The images in /nowhere changed while they were read\. Run it again"):
        open_store(numbers(4, changes=lambda: next(clock)), 8, cache)
    assert not any(path.is_dir() for path in (cache / "images").iterdir())


# Many images


def test_only_a_few_items_are_in_flight_and_all_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookahead, "_cores", lambda: 1)
    taken = 0

    def items() -> Iterable[int]:
        nonlocal taken
        while taken < 1000:
            yield taken
            taken += 1

    for number, result in enumerate(lookahead.in_order(lambda item: item * item, items())):
        assert result == number**2
        assert taken - number <= 3 * lookahead._AHEAD * lookahead._AT_ONCE
    assert number == 999


def test_an_error_in_one_item_ends_the_work() -> None:
    done = []

    def work(item: int) -> int:
        done.append(item)
        return 1 // (item - 5)

    with pytest.raises(ZeroDivisionError):
        list(lookahead.in_order(work, range(10**6)))
    assert len(done) < 1000


def test_long_work_says_how_far_it_is_every_ten_seconds_and_short_work_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = 0.0
    monkeypatch.setattr(lookahead.time, "monotonic", lambda: clock)
    for pace, lines in ((0.01, []), (0.3, [34, 68])):
        progress = lookahead.Countdown("decoding train images", 100)
        for _ in range(100):
            clock += pace
            progress.step()
        shown = capsys.readouterr().err.splitlines()
        assert shown == [
            f"decoding train images: {done} of 100, about {pace * (100 - done):.0f} s left" for done in lines
        ]


GROWTH = """
import json, resource, sys
from pathlib import Path
import numpy as np
from ablation.listing import Listing
from ablation.store import open_store

class Reader:
    channels = 3
    def stamps(self, names): return ((name, 1, 1) for name in names)
    def digest(self, name): return name.encode()
    def pixels(self, name, size): return np.full((size, size, 3), int(name) % 251, np.uint8)

def peak():  # kB of its own, without what a memory map shares with the disk
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0])

count = int(sys.argv[2])
files = tuple((str(k), k % 2) for k in range(count))
open_store(Listing(Path("/nowhere"), ("a", "b"), files[:10], files[:2], Reader()), 128, Path(sys.argv[1]))
start, most = peak(), 0
honest = Reader.pixels
def pixels(self, name, size):
    global most
    if int(name) % 100 == 0:
        most = max(most, peak())
    return honest(self, name, size)
Reader.pixels = pixels
store = open_store(Listing(Path("/nowhere"), ("a", "b"), files, files[:2], Reader()), 128, Path(sys.argv[1]))
assert (store.images["train"][::97, 5, 5, 1] == [k % 251 for k in range(0, count, 97)]).all()
print(json.dumps([most - start, store.images["train"].nbytes // 1024]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from /proc")
def test_memory_stays_the_same_however_many_images_there_are(cache: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, str(cache), "4000"], capture_output=True, text=True, check=True
    )
    grown, size = json.loads(done.stdout)
    assert size == 4000 * 128 * 128 * 3 // 1024  # 192,000 kB on the disk
    assert grown < 40_000


# Killed at any moment, and several at once

KILLS = """
import hashlib, json, os, random, signal, sys, time, traceback
from pathlib import Path
import numpy as np
from ablation.listing import Listing, Unreadable
from ablation import store

class Reader:
    channels = 3
    def stamps(self, names): return [(name, 1, 1) for name in names]
    def digest(self, name): return name.encode()
    def pixels(self, name, size):
        time.sleep(0.0005)
        if int(name) % 7 == 3:
            raise Unreadable("odd")
        return np.random.default_rng(int(name)).integers(0, 256, (size, size, 3), dtype=np.uint8)

files = tuple((str(k), k % 3) for k in range(300))
listing = Listing(Path("/nowhere"), ("a", "b", "c"), files[:250], files[250:], Reader())

def build(cache):
    # A child that builds, without what fork would make it share.
    child = os.fork()
    if not child:
        try:
            store.open_store(listing, 32, cache)
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    return child

def whole(cache):
    folders = [path for path in (cache / "images").iterdir() if path.is_dir()]
    assert len(folders) == 1 and folders[0].suffix == "", folders
    total = hashlib.sha256()
    for path in sorted(folders[0].iterdir()):
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()

place, draws = Path(sys.argv[1]), random.Random(7)
start = time.monotonic()
os.waitpid(build(place / "quiet"), 0)
length = time.monotonic() - start
wanted, met = whole(place / "quiet"), []
for number in range(20):
    cache = place / str(number)
    children = [build(cache) for _ in range(1 + number % 2)]
    time.sleep(draws.uniform(0.02, 1.1) * length)
    os.kill(children[0], signal.SIGKILL)
    os.waitpid(children[0], 0)
    names = [path.name for path in (cache / "images").iterdir()] if (cache / "images").exists() else []
    met.append(sorted({name.rpartition(".")[2] if "." in name else "store" for name in names}))
    for child in children[1:]:
        os.waitpid(child, 0)
    opened = store.open_store(listing, 32, cache)
    kept = [k for k in range(250) if k % 7 != 3]
    assert opened.labels["train"].tolist() == [k % 3 for k in kept]
    assert (opened.images["train"][50] == Reader().pixels(str(kept[50]), 32)).all()
    assert whole(cache) == wanted, number
print(json.dumps(met))
"""


def test_a_build_killed_at_20_moments_or_beside_another_never_leaves_a_wrong_store(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLS, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    met = json.loads(done.stdout)
    assert len(met) == 20
    assert any("tmp" in names for names in met)  # some were killed while they wrote


STEPS = """
import json, os, sys
from pathlib import Path
from ablation import imagefolder, store
root, place = map(Path, sys.argv[1:])
names = ("fsync", "rename", "replace", "mkdir", "rmdir", "unlink", "open")
codes = []
while not codes or codes[-1] == 9:
    cache = place / f"step{len(codes)}"
    child = os.fork()
    if not child:
        left = len(codes) + 1
        def counted(honest):
            def call(*arguments, **options):
                global left
                left -= 1
                if left == 0:
                    os._exit(9)
                return honest(*arguments, **options)
            return call
        for name in names:
            setattr(os, name, counted(getattr(os, name)))
        store.open_store(imagefolder.index_folder(root), 12, cache)
        os._exit(0)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    store.open_store(imagefolder.index_folder(root), 12, cache)
print(json.dumps(codes))
"""


def test_a_build_that_ends_before_any_of_its_steps_on_the_disk_leaves_what_the_next_one_makes_good(
    root: Path, tmp_path: Path
) -> None:
    wanted = contents(open_store(index_folder(root), 12, tmp_path / "quiet").folder)
    done = subprocess.run(
        [sys.executable, "-c", STEPS, str(root), str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout)
    assert codes == [9] * (len(codes) - 1) + [0]
    assert len(codes) > 20
    for number in range(len(codes)):
        (images,) = [path for path in (tmp_path / f"step{number}" / "images").iterdir() if path.is_dir()]
        assert contents(images) == wanted


# Cleaning


def test_cleaning_removes_what_this_program_made_and_nothing_else(root: Path, cache: Path, tmp_path: Path) -> None:
    folder = open_store(index_folder(root), 12, cache).folder
    size = sum(path.stat().st_size for path in folder.iterdir())
    left = folder.with_name(f"{folder.name}.77.tmp")
    left.mkdir()
    (left / "train.npy").write_bytes(b"x" * 10)
    (cache / "images" / "0123456789abcdef-64px-v2").mkdir()  # of an earlier version, without a lock
    assert clean_cache(cache) == [f"Removed 3 sets of decoded images ({cachefolder.amount(size + 10)}) from {cache}."]
    assert not cache.exists()
    assert clean_cache(cache) == [f"The cache folder {cache} is not there: there is nothing to remove."]
    assert len(open_store(index_folder(root), 12, cache).labels["train"]) == 4

    kept = [
        cache / "notes.txt", cache / "images" / "mine" / "a.npy", cache / "fingerprints" / "notes.json",
        folder / "photo.jpg", cache / "images" / "0123456789abcdef-64px-v3x" / "train.npy",
    ]  # fmt: skip
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")
    first, *others = clean_cache(cache)
    assert first.startswith("Removed 0 sets of decoded images")
    assert others == [f"{folder} stays: it holds what is not of this program."]
    assert sorted(path for path in cache.rglob("*") if path.is_file()) == sorted(kept)


def test_cleaning_follows_no_link(root: Path, cache: Path, tmp_path: Path) -> None:
    folder = open_store(index_folder(root), 12, cache).folder
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere / "store")
    (elsewhere / "file.npy").write_bytes(b"mine")
    folder.with_name("aaaaaaaaaaaaaaaa-12px-v3").symlink_to(elsewhere / "store", target_is_directory=True)
    (folder / "linked.npy").symlink_to(elsewhere / "file.npy")
    before = {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()}
    clean_cache(cache)
    assert [path.name for path in folder.iterdir()] == ["linked.npy"]
    assert {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()} == before
    shutil.rmtree(cache)
    open_store(index_folder(root), 12, cache)
    (cache / "images").rename(elsewhere / "images")
    (cache / "images").symlink_to(elsewhere / "images", target_is_directory=True)
    assert f"{cache}/images is a link and stays with all behind it." in clean_cache(cache)
    assert len(list((elsewhere / "images").iterdir())) >= 1
    assert list((cache / "fingerprints").glob("*")) == []


def test_cleaning_leaves_a_store_that_is_being_built(root: Path, cache: Path) -> None:
    folder = open_store(index_folder(root), 12, cache).folder
    building = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    building.mkdir()
    with locked(folder.with_suffix(".lock"), "decodes these images"):
        _, kept = clean_cache(cache)
    assert kept == f"{folder} is being built and stays."
    assert folder.is_dir()
    assert building.is_dir()
    clean_cache(cache)
    assert not cache.exists()


def test_of_two_that_wait_for_a_lock_file_that_is_cleaned_away_one_makes_it_anew_and_the_other_waits(
    tmp_path: Path,
) -> None:
    path, order, one_is_in, free = tmp_path / "x.lock", list[str](), threading.Event(), threading.Event()

    def waits(word: str) -> None:
        with locked(path, "decodes"):
            order.append(word)
            one_is_in.set()
            free.wait(60)
            order.append(word)

    second, third = (threading.Thread(target=waits, args=(word,)) for word in ("second", "third"))
    with locked(path, "decodes"):
        second.start()
        time.sleep(0.2)
        assert order == []
        path.unlink()
        third.start()
        assert one_is_in.wait(60)
    time.sleep(0.3)  # the first file is free now, which must not help the other
    assert len(order) == 1
    free.set()
    for thread in (second, third):
        thread.join(60)
    assert order in (["second", "second", "third", "third"], ["third", "third", "second", "second"])


def test_who_waits_for_a_lock_whose_folder_is_cleaned_away_makes_it_again(tmp_path: Path) -> None:
    path, done = tmp_path / "images" / "x.lock", list[str]()

    def waits() -> None:
        with locked(path, "decodes"):
            done.append("second")

    with locked(path, "decodes"):
        waiter = threading.Thread(target=waits)
        waiter.start()
        shutil.rmtree(path.parent)
        waiter.join(30)
    assert done == ["second"]


def test_a_long_wait_for_another_process_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cachefolder, "_PATIENCE", 0.0)
    path, held, free = tmp_path / "x.lock", threading.Event(), threading.Event()

    def holds() -> None:
        with locked(path, "decodes these images"):
            held.set()
            free.wait(30)

    holder = threading.Thread(target=holds)
    holder.start()
    held.wait(30)
    threading.Timer(0.5, free.set).start()
    with locked(path, "decodes these images"):
        pass
    holder.join()
    assert capsys.readouterr().err == f"waiting for another process that decodes these images ({path})\n"


def test_cleaning_leaves_an_archive_that_is_being_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "unpacked" / ("a" * 16)
    archive.with_suffix(".tmp").mkdir(parents=True)
    (archive.with_suffix(".tmp") / "half.bin").write_bytes(b"x" * 1500)
    with locked(archive.with_suffix(".lock"), "unpacks this archive"):
        _, kept = clean_cache(tmp_path)
    assert kept == f"{archive} is being unpacked and stays."
    assert clean_cache(tmp_path) == [f"Removed 0 sets of decoded images (1.5 kB) from {tmp_path}."]
    assert not tmp_path.exists()


def test_cleaning_removes_unpacked_archives_and_indexes_and_keeps_downloads(tmp_path: Path) -> None:
    kept = (tmp_path / "downloads/cifar.tar.gz", tmp_path / "unpacked/mine/x.bin", tmp_path / "indexes/notes.txt")
    gone = (tmp_path / f"unpacked/{'a' * 16}/sub/batch.bin", tmp_path / f"indexes/{'b' * 16}.json")
    for path in (*kept, *gone):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1500))
    assert clean_cache(tmp_path) == [f"Removed 0 sets of decoded images (3 kB) from {tmp_path}."]
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
