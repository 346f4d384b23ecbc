"""The order of notes on what a file loses, and which of them a decoded file repeats."""

from __future__ import annotations

from collections.abc import Iterable

_WEIGHTS = (
    ("dynamic range", "gain map", "labels", "thinner than", "smaller than", "inside out", "no inside"),
    ("colour", "profile", "converted", "reduced", "alpha", "palette", "scaled", "lossy", "clipped", "surface is open"),
    ("pages", "pictures", "frames", "slices", "parts", "film", "morph", "end mark", "no length"),
)
"""Words in notes, by what the note is about: what changes the measure; the look or the sound; what is left out."""

PART = "not all of the file is fitted"
"""How the note begins that a source was read in part, as asked for: its bytes are those of the whole file."""

_LEFT_OUT = 2
"""Position in _WEIGHTS of what a file loses without a change of its samples."""


def by_weight(notes: Iterable[str]) -> tuple[str, ...]:
    """``notes`` without repetitions, those first that change what is measured, seen or heard most."""
    return tuple(sorted(dict.fromkeys(notes), key=_weight))


def about_samples(notes: Iterable[str]) -> tuple[str, ...]:
    """Those of ``notes`` on what was changed in the samples that a field was fitted to. They are true of every file
    that the field is decoded to."""
    return tuple(note for note in by_weight(notes) if _weight(note) < _LEFT_OUT)


def _weight(note: str) -> int:
    """The position of the first group of _WEIGHTS that ``note`` belongs to."""
    return next((k for k, words in enumerate(_WEIGHTS) if any(word in note for word in words)), len(_WEIGHTS))
