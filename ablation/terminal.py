"""What a terminal is sent: all names and texts as UTF-8, and no control characters but line ends and tabs.

Names of files, classes and levels are somebody else's, and a terminal obeys control characters: one could hide a
line, or colour it.
"""

import codecs
import io
import os
import re
import sys

# C0 but tab and line end, delete, C1, and what turns the direction of writing or hides.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """The text with control characters written out, as \\x1b."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class _Plain(io.TextIOWrapper):
    """A stream that writes control characters out."""

    def write(self, text: str, /) -> int:
        """Write a text, plain."""
        return super().write(plain(text))


def speak_utf8() -> None:
    """Have this command, and what it starts, read and write all names and texts as UTF-8, whatever the locale is.

    Under LC_ALL=C with PYTHONUTF8=0, or in Latin-1, Python takes the bytes of a file name for other letters than the
    run's files have, so the command begins anew in UTF-8 mode. What no UTF-8 can say is printed as an escape, and so
    are control characters, but for those of progress bars, which use the streams as they were.
    """
    if os.name == "posix" and not sys.flags.utf8_mode and not _is_utf8(sys.getfilesystemencoding()):
        os.environ["PYTHONUTF8"] = "1"
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            stream.flush()
            lines = stream.line_buffering or name == "stderr"
            setattr(sys, name, _Plain(stream.buffer, stream.encoding, "backslashreplace", line_buffering=lines))


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name == "utf-8"
