"""Which part of this image classifier matters, and how sure are we?"""

__version__ = "0.1.0"
