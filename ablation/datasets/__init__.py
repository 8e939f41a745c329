"""Embedded data: `fashion_mini`, a class-balanced cut of Fashion-MNIST (card: FASHION_MINI.md)."""

from pathlib import Path

FASHION_MINI_CLASSES: tuple[str, ...] = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
FASHION_MINI_SHA256: str = "8a051e9fe853e4cdbaab134c875612f27e53b25b86d5b20702191239345e98e5"
FASHION_MINI_FILE: Path = Path(__file__).with_name("fashion_mini.npz")
