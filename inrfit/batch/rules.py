"""How the fields of a batch are fitted beyond the settings of ``inrfit encode``: where they start, when they end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import UsageError
from ..fit import budget as budgets
from ..io.json_schema import integer, number, one_of, optional
from ..modalities import MODALITIES

INITS = ("own", "shared")

CAP = 10
"""How many times the steps of the budget a field below its floor gets at most, unless a cap is given: as in the code
of Implicit-Zoo (Ma et al. 2024)."""

SCHEMA = {"init": one_of(*INITS), "floor": optional(number()), "cap": optional(integer(1, 2**62))}


@dataclass(frozen=True)
class Rules:
    """``init``: "own", weights drawn by the seed of each field, or "shared", one set of weights for all fields of one
    kind. ``floor``: the quality below which a field is fitted on, for as many steps again, and again until it has
    made ``cap`` steps."""

    init: str = "own"
    floor: float | None = None
    cap: int | None = None

    def json(self) -> dict[str, Any]:
        """The rules as JSON values with the SCHEMA."""
        return asdict(self)

    def steps_left(self, quality: float, made: int, budget: int) -> int:
        """How many further steps a field of this quality gets that has ``made`` so many: as many again, as in the rest
        of a fit of twice the steps. ``budget``: the steps of the first round."""
        if self.floor is None or quality >= self.floor:
            return 0
        return max(0, min(made, (self.cap or CAP * budget) - made))


@dataclass(frozen=True)
class AskedRules:
    """What a command asks for, as text such as "30dB" and "300it"; None: the default."""

    init: str | None = None
    floor: str | None = None
    cap: str | None = None

    def resolved(self, kinds: Sequence[Mapping[str, Any]]) -> Rules:
        """The rules for fields of these ``kinds``, as ``plan.json`` lists them. Raises ``UsageError``."""
        init = self.init or INITS[0]
        if init not in INITS:
            raise UsageError(f"--init {init}: choose own or shared", "option")
        if self.floor is None:
            if self.cap is not None:
                raise UsageError(f"--cap {self.cap} needs a --floor, below which fields are fitted on", "option")
            return Rules(init)
        units = {MODALITIES[kind["modality"]].unit for kind in kinds} or {"dB"}
        if len(units) > 1:
            raise UsageError("--floor needs sources whose quality has one unit: make a batch of each", "option")
        steps = {kind["budget"]["steps"] for kind in kinds}
        others = {kind["budget"][limit] for kind in kinds for limit in ("seconds", "target")}
        if None in steps or others - {None}:
            raise UsageError("--floor needs a budget in steps alone, such as --budget 60it", "option")
        return Rules(init, budgets.parse_target(self.floor, units.pop()), self._cap(max(steps, default=0)))

    def _cap(self, steps: int) -> int | None:
        """The most steps."""
        if self.cap is None:
            return None
        most = budgets.parse([self.cap]).steps
        if most is None or most < steps:
            raise UsageError(f"--cap {self.cap}: must be a number of steps, at least the budget's {steps}", "option")
        return most


def from_json(values: Mapping[str, Any]) -> Rules:
    """The inverse of ``Rules.json``."""
    return Rules(values["init"], values["floor"], values["cap"])
