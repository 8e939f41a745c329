"""Random streams without hidden state: a draw depends on (seed, stream name, keys) and on nothing drawn before.

Hence resume needs no generator state, variants that share a seed share their draws, and two streams never shift
each other.
"""

import hashlib

import torch


def stream_seed(seed: int, name: str, *keys: int | str) -> int:
    """A 63-bit seed from SHA-256 over the keys; equal keys give equal seeds on every machine."""
    text = "\0".join(map(str, (seed, name, *keys)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def stream(seed: int, name: str, *keys: int | str, device: str = "cpu") -> torch.Generator:
    """A generator on `device` at the start of the stream (seed, name, *keys)."""
    generator = torch.Generator(device=device)
    generator.manual_seed(stream_seed(seed, name, *keys))
    return generator
