"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, noun: str, nouns: str | None = None) -> str:
    """The number with its noun: 1 image, 2 images. nouns: the plural, where an s does not make it."""
    return f"{number} {noun if number == 1 else nouns or noun + 's'}"
