"""The recipe of a fit in words: every value that was chosen, and why."""

from __future__ import annotations

from collections.abc import Collection

from ..fields import FieldSpec
from ..modalities import MODALITIES
from ..signal import Signal
from .recipe import PAPER_REASON, USER_REASON, Choice, Recipe


def explain(
    recipe: Recipe,
    spec: FieldSpec,
    signal: Signal,
    regime: str = "inrfit",
    user_options: Collection[str] = (),
    planned_options: Collection[str] = (),
) -> list[tuple[str, str, str]]:
    """(setting, value, reason) of everything chosen for a fit. ``user_options`` names the architecture options set by
    the user, ``planned_options`` also those that follow from the size of the field."""
    if spec.formula.TRAITS.closed_form is not None:
        rows = [("steps", "none", "the weights are found in closed form (docs/architectures.md)")]
    else:
        rows = [(choice.name, _format_value(choice), choice.reason) for choice in recipe.choices if choice.reason]
    for option, value in spec.json()["options"].items():
        if option in user_options:
            reason = USER_REASON
        elif own_reason := spec.formula.reason(option):
            reason = own_reason
        elif option in planned_options:
            reason = "follows from the size of the signal and the number of weights"
        else:
            reason = PAPER_REASON if regime == "paper" else MODALITIES[signal.modality].omega_source
        rows.append((option, f"{value:g}" if isinstance(value, float) else str(value), reason))
    return rows


def _format_value(choice: Choice) -> str:
    """The value as text for people."""
    if choice.name == "batch":
        return "the selection" if choice.value is None else f"{choice.value:,} points"
    return f"{choice.value:g}" if isinstance(choice.value, float) else str(choice.value)
