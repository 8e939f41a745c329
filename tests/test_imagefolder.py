"""A folder of images: which files count, how each kind is decoded, the fingerprint, and the store that runs share."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ablation import imagefolder, store
from ablation.decode import decode_image as decode_content
from ablation.errors import UserError
from ablation.imagefolder import index_folder
from ablation.listing import Unreadable, natural_key
from ablation.store import default_cache_dir, fingerprint, open_store

RED, GREEN, BLUE = (200, 10, 20), (10, 200, 20), (10, 20, 200)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, moved into the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ablation"


def write(path: Path, colour: tuple[int, int, int] = RED, size: tuple[int, int] = (12, 12)) -> Path:
    """An image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, two training images and one validation image each."""
    for name, colour in (("cat", RED), ("dog", GREEN)):
        for file in ("train/{}/1.png", "train/{}/2.png", "val/{}/3.png"):
            write(tmp_path / "images" / file.format(name), colour)
    return tmp_path / "images"


def decode_image(path: Path, size: int) -> np.ndarray | None:
    """A file's image, or None where there is none."""
    try:
        return decode_content(path.read_bytes(), size)
    except Unreadable:
        return None


def never(*_: object) -> None:
    raise AssertionError("decoded again")


# Which files count


def test_classes_and_files_are_in_natural_order(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("c10", "c2", "c1"):
            for file in ("img10.png", "img2.png", "img01.png", "img1.png"):
                write(tmp_path / split / name / file)
    index = index_folder(tmp_path)
    assert index.classes == ("c1", "c2", "c10")
    files = ["img01.png", "img1.png", "img2.png", "img10.png"]
    assert index.train == tuple((f"train/c{n}/{file}", label) for label, n in enumerate((1, 2, 10)) for file in files)
    assert index.val == tuple((f"val/c{n}/{file}", label) for label, n in enumerate((1, 2, 10)) for file in files)


def test_the_order_does_not_depend_on_the_order_in_which_the_disk_lists_names() -> None:
    names = ["a", "a1", "a01", "a001", "b", "2", "02", "10", "²", "1²2", "٣", "Ä", "a1b2", "a1b10"]
    wanted = sorted(names, key=natural_key)
    names.reverse()
    assert sorted(names, key=natural_key) == wanted
    assert wanted[:3] == ["1²2", "02", "2"]
    assert wanted.index("a1b2") < wanted.index("a1b10")


@pytest.mark.parametrize(
    "ignored",
    [
        "train/cat/notes.txt",
        "train/cat/.hidden.png",
        "train/cat/Thumbs.db",
        "train/cat/1.png.json",
        "train/cat/.deeper/9.png",
        "train/cat/@eaDir/9.png",
        "train/cat/desktop.ini",
        "train/.hidden/9.png",
        "train/__MACOSX/9.png",
        "train/__pycache__/9.png",
        "val/lost+found/9.png",
        "train/@eaDir/9.png",
        "train/#recycle/9.png",
        "train/$RECYCLE.BIN/9.png",
        "train/System Volume Information/9.png",
        "val/.AppleDouble/9.png",
        "train/cat/._1.png",
        "train/.DS_Store",
        "train/9.png",
        "test/9.png",
        "other/cat/9.png",
    ],
)
def test_hidden_files_folders_of_tools_and_other_files_are_ignored(ignored: str, root: Path) -> None:
    before = index_folder(root)
    path = root / ignored
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"whatever this is")
    assert replace(index_folder(root), notices=()) == before


@pytest.mark.parametrize("suffix", ["PNG", "Jpg", "JPEG", "bmp", "GIF", "tif", "TIFF", "webp", "ppm", "pgm"])
def test_every_common_kind_of_file_counts_in_either_case(suffix: str, root: Path) -> None:
    path = root / "train" / "cat" / f"7.{suffix}"
    image = Image.new("L" if suffix == "pgm" else "RGB", (12, 12), 90 if suffix == "pgm" else RED)
    image.save(path, {"JPG": "jpeg", "TIF": "tiff", "PGM": "ppm"}.get(suffix.upper(), suffix))
    assert (f"train/cat/7.{suffix}", 0) in index_folder(root).train
    pixels = decode_image(path, 12)
    assert pixels is not None
    wanted = (90, 90, 90) if suffix == "pgm" else RED
    assert np.abs(pixels.astype(int) - wanted).max() <= 6  # JPEG and WebP lose a little


def test_classes_are_matched_by_name_when_val_lacks_one(root: Path) -> None:
    write(root / "train" / "ant" / "1.png", BLUE)
    index = index_folder(root)
    assert index.classes == ("ant", "cat", "dog")
    assert index.val == (("val/cat/3.png", 1), ("val/dog/3.png", 2))


def test_a_class_that_only_val_has_is_refused_by_name(root: Path) -> None:
    write(root / "val" / "cow" / "1.png")
    with pytest.raises(
        UserError, match=r"val/ has classes that train/ lacks: cow\. Classes are matched by folder name"
    ):
        index_folder(root)


def test_missing_training_images_are_refused_by_name(root: Path) -> None:
    shutil.rmtree(root / "train")
    with pytest.raises(UserError, match=r"there is no folder train/ in it. Expected are train/<class>/"):
        index_folder(root)


def test_a_folder_without_validation_images_gives_training_images_only(root: Path) -> None:
    before = index_folder(root)
    shutil.rmtree(root / "val")
    assert index_folder(root) == replace(before, val=())


def test_a_class_without_a_training_image_is_refused_by_name(root: Path) -> None:
    (root / "train" / "cow").mkdir()
    with pytest.raises(UserError, match=r"no image in train/cow/. Remove the folder or add images"):
        index_folder(root)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_any_image_is_refused_with_the_kinds_of_files(split: str, root: Path) -> None:
    for file in (root / split).rglob("*.png"):
        file.unlink()
    with pytest.raises(UserError, match=rf"{split}/ holds no image \(.*\.jpeg, \.jpg"):
        index_folder(root)


# How each kind is decoded


@pytest.mark.parametrize(
    ("mode", "value", "wanted"),
    [
        ("L", 77, (77, 77, 77)),
        ("LA", (77, 0), (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (*RED, 0), RED),
        ("RGBA", (*RED, 128), RED),
        ("RGB", GREEN, GREEN),
        ("I;16", 257 * 77, (77, 77, 77)),
        ("I;16", 65535, (255, 255, 255)),
    ],
)
def test_every_colour_mode_of_a_png_becomes_8_bit_rgb(
    mode: str, value: int | tuple[int, ...], wanted: tuple[int, ...], tmp_path: Path
) -> None:
    Image.new(mode, (8, 8), value).save(tmp_path / "x.png")
    pixels = decode_image(tmp_path / "x.png", 8)
    assert pixels is not None
    assert (pixels.dtype, pixels.shape) == (np.uint8, (8, 8, 3))
    assert (pixels == wanted).all()


def test_16_bits_are_scaled_to_8_and_not_cut_off(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "x.png")
    pixels = decode_image(tmp_path / "x.png", 8)
    assert pixels is not None
    assert (pixels == (values // 257)[..., None]).all()
    assert (pixels.min(), pixels.max()) == (0, 255)


@pytest.mark.parametrize("transparency", [None, 0, bytes([0, 128])])
def test_a_palette_becomes_its_colours_with_or_without_transparency(
    transparency: int | bytes | None, tmp_path: Path
) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([*RED, *BLUE])
    image.paste(1, (0, 0, 8, 4))
    options = {} if transparency is None else {"transparency": transparency}
    image.save(tmp_path / "x.png", **options)
    pixels = decode_image(tmp_path / "x.png", 8)
    assert pixels is not None
    assert (pixels[:4] == BLUE).all()
    assert (pixels[4:] == RED).all()


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "x.tif")
    pixels = decode_image(tmp_path / "x.tif", 8)
    assert pixels is not None
    assert (pixels == (255, 0, 0)).all()


def gradient(width: int, height: int, axis: int) -> np.ndarray:
    """Brightness equal to the position along an axis."""
    line = np.arange(height if axis == 0 else width, dtype=np.uint8)
    grey = np.broadcast_to(line[:, None] if axis == 0 else line[None, :], (height, width))
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.mark.parametrize(
    ("width", "height", "left", "top"),
    [(40, 16, 12, 0), (16, 40, 0, 12), (16, 16, 0, 0), (17, 16, 0, 0), (16, 19, 0, 1)],
)
def test_the_centre_is_cut_out_when_only_the_longer_side_is_too_long(
    width: int, height: int, left: int, top: int, tmp_path: Path
) -> None:
    for axis, start in ((0, top), (1, left)):
        Image.fromarray(gradient(width, height, axis)).save(tmp_path / "x.png")
        pixels = decode_image(tmp_path / "x.png", 16)
        assert pixels is not None
        assert (pixels == gradient(width, height, axis)[top : top + 16, left : left + 16]).all()
        assert pixels[0, 0, 0] == start


@pytest.mark.parametrize(("width", "height"), [(200, 80), (80, 200), (99, 61), (10, 25), (16, 5), (1, 1), (250, 1)])
def test_the_shorter_side_is_resized_and_the_centre_kept(width: int, height: int, tmp_path: Path) -> None:
    size, scale = 16, 16 / min(width, height)
    for axis, length in ((0, height), (1, width)):
        Image.fromarray(gradient(width, height, axis)).save(tmp_path / "x.png")
        pixels = decode_image(tmp_path / "x.png", size)
        assert pixels is not None
        assert pixels.shape == (size, size, 3)
        line = pixels[..., 0].mean(axis=1 - axis)
        # The brightness at the middle is the middle position, and a step is 1 / scale.
        assert abs(line.mean() - (length - 1) / 2) <= 0.5 / scale + 0.6
        inner = np.diff(line)[2:-2]
        assert np.abs(inner - 1 / scale).max() <= 1.01 if length > 8 else True


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n", b"not an image", b"GIF89a\x00\x00\x00\x00\x00\x00\x00", b"\xff\xd8\xff"]
)
def test_a_file_that_is_no_image_is_not_decoded(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(content)
    assert decode_image(tmp_path / "x.png", 8) is None


@pytest.mark.filterwarnings("ignore")  # Pillow's, of what is odd in a file
@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "tiff", "webp"])
def test_a_file_cut_off_anywhere_gives_an_image_of_the_right_shape_or_none(kind: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole", kind)
    whole = (tmp_path / "whole").read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 40)):
        (tmp_path / "cut").write_bytes(whole[:length])
        pixels = decode_image(tmp_path / "cut", 16)
        assert pixels is None or pixels.shape == (16, 16, 3)


def test_what_pillow_finds_odd_in_a_file_warns_nobody(root: Path, cache: Path) -> None:
    Image.new("RGB", (12, 12), RED).save(root / "train/cat/7.tif")
    whole = (root / "train/cat/7.tif").read_bytes()
    (root / "train/cat/7.tif").write_bytes(whole[:60])
    with pytest.warns(UserWarning, match="Truncated"):
        decode_image(root / "train/cat/7.tif", 12)
    assert open_store(index_folder(root), 12, cache).skipped.keys() == {"train/cat/7.tif"}


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
    write(root / "val/dog/9.png")


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
    write(root / "test" / "1.png")
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
    monkeypatch.setattr(Path, "read_bytes", never)
    assert fingerprint(index_folder(root), cache) == before


def test_a_file_that_may_not_be_read_is_refused_by_name(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(UserError, match=r"train/cat/1\.png cannot be read: Permission denied"):
        fingerprint(index_folder(root), cache)


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
        patch.setattr(store, "fingerprint", lambda *_: "0123456789abcdef")
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
            write(tmp_path / "images" / split / name / f"{number}.png", (number * 20, 10, 10))
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


def test_the_store_says_what_it_was_made_of(root: Path, cache: Path) -> None:
    opened = open_store(index_folder(root), 12, cache)
    meta = json.loads((opened.folder / "meta.json").read_text(encoding="utf-8"))
    assert (meta["classes"], meta["skipped"]) == (["cat", "dog"], {})
