"""What a file's content is by its first bytes: a kind of image that is read, or what people have in its place."""

import codecs
import re

from ablation.listing import Unreadable

# Pillow's name of each kind that is read, and how its content begins.
_BEGINNINGS = (
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("WEBP", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
    ("TIFF", re.compile(rb"II[*+]\0|MM\0[*+]")),
    ("AVIF", re.compile(rb".{4}ftyp(?:avif|avis|mif1.{4}(?:.{4})*?avif)", re.DOTALL)),
    ("BMP", re.compile(rb"BM.{8}", re.DOTALL)),
    ("PPM", re.compile(rb"P[1-6][\s#]")),
)

# How other content begins that people have under an image's name.
_OTHERS = (
    (rb"\x1f\x8b", "gzip-compressed, unpack it"),
    (rb"BZh[1-9]", "bzip2-compressed, unpack it"),
    (rb"\xfd7zXZ\0", "xz-compressed, unpack it"),
    (rb"\x28\xb5\x2f\xfd", "zstd-compressed, unpack it"),
    (rb"PK(?:\x03\x04|\x05\x06|\x07\x08)", "a zip archive, unpack it"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive, unpack it"),
    (rb"Rar!", "a rar archive, unpack it"),
    (rb".{257}ustar", "a tar archive, unpack it"),
    (rb"version https://git-lfs", "a Git LFS pointer, not the image: fetch it with git lfs pull"),
    (rb"%PDF", "a PDF document, not an image"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file, not an image"),
    (rb"8BPS", "a Photoshop file, convert it to PNG or JPEG"),
    (rb".{4}ftyp(?:hei|hev|mif1|msf1)", "a HEIC image, convert it to PNG or JPEG"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 image, convert it to PNG or JPEG"),
    (rb"\0\0\0\x0cJXL |\xff\x0a", "a JPEG XL image, convert it to PNG or JPEG"),
    (rb"\0\0\x01\0", "an icon file, convert it to PNG"),
    (rb".{4}ftyp|RIFF.{4}AVI |\x1a\x45\xdf\xa3|\0\0\x01[\xb3\xba]|FLV|OggS", "a video or sound file, not an image"),
    (rb"RIFF.{4}WAVE|ID3|fLaC", "a sound file, not an image"),
    (rb"\0\x05\x16[\0\x07]", "an AppleDouble file that macOS leaves beside the image, remove it"),
    (rb"\x89HDF", "an HDF5 file, not an image"),
    (rb"\x93NUMPY", "a NumPy array, not an image"),
    (rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<svg", "an SVG drawing, convert it to PNG"),
    (rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)?<(?:!doctype html|html|head|body)", "an HTML page, not an image"),
    (rb"(?:\xef\xbb\xbf)?\s*<[!?/a-z][!-~\s]", "an XML or HTML document, not an image"),
    (rb"(?:\xef\xbb\xbf)?\s*(?:\{\s*[\"}]|\[\s*[\"{\[\]])", "a JSON document, not an image"),
)
_OTHER_KINDS = tuple((re.compile(pattern, re.DOTALL | re.IGNORECASE), words) for pattern, words in _OTHERS)
_TEXT = re.compile(rb"[\t\n\r\f\x20-\x7e\x80-\xff]+")


def kind_of(content: bytes) -> str:
    """Pillow's name of the content's kind, whatever the file is called.

    Raises:  Unreadable: it is none that is read; the message says what it is instead, as far as its beginning tells.
    """
    head = content[:4096]
    for kind, beginning in _BEGINNINGS:
        if beginning.match(head):
            return kind
    if not content:
        raise Unreadable("empty, 0 bytes")
    if not head.strip(b"\0"):
        raise Unreadable("only zero bytes at its beginning" if content.strip(b"\0") else "only zero bytes")
    for beginning, words in _OTHER_KINDS:
        if beginning.match(head):
            raise Unreadable(words)
    raise Unreadable("text, not an image" if _is_text(head) else "no image of a kind that is known")


def _is_text(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # a character that is cut at the end is text, too
    except UnicodeDecodeError:
        return False
    return _TEXT.fullmatch(head) is not None
