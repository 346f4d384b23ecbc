"""How a fit ended."""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """How a fit ended: a word for programs and a sentence for people."""

    BUDGET = "budget", "The budget in seconds was spent."
    STEPS = "steps", "The budget in steps was spent."
    TARGET = "target", "The target was reached."
    PERFECT = "perfect", "Every sample decodes exactly: nothing was left to learn."
    INTERRUPTED = "interrupted", "The fit was interrupted before its budget was spent."

    def __init__(self, word: str, sentence: str) -> None:
        self.word, self.sentence = word, sentence
