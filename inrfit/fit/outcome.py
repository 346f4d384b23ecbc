"""How a fit ended."""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """How a fit ended: ``slug`` for programs (``ended`` in the provenance), ``sentence`` for people."""

    BUDGET = "budget", "The budget in seconds was spent."
    STEPS = "steps", "The budget in steps was spent."
    TARGET = "target", "The target was reached."
    EXACT = "perfect", "Every sample decodes exactly, so the fit ended early."
    CLOSED_FORM = "closed-form", "The weights were found in closed form, without steps."
    INTERRUPTED = "interrupted", "The fit was interrupted before its budget was spent."

    def __init__(self, slug: str, sentence: str) -> None:
        self.slug, self.sentence = slug, sentence
