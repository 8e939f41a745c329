"""Which part of this image classifier matters, and how sure are we?"""

import sys

from ablation.starting import end_at_once, is_command, tell_missing_packages

__version__ = "0.1.0"

if is_command(sys.argv, sys.orig_argv):  # a program that uses the package keeps its own ways with signals
    end_at_once()
    tell_missing_packages()
