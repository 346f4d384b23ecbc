"""Plot of rate and distortion: a panel for each source, a line for each field and codec. Needs matplotlib."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..modalities import MODALITIES
from .plot import COLUMNS, PANEL
from .rates import RateCurve, RateTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def png(tables: Sequence[RateTable]) -> bytes:
    """The plot as the bytes of a PNG file. Raises ``ImportError`` without matplotlib; its global state is not used."""
    from matplotlib.figure import Figure

    columns = min(len(tables), COLUMNS)
    rows = math.ceil(len(tables) / columns)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, table in zip(panels, tables, strict=False):
        _panel(panel, table)
    for panel in panels[len(tables) :]:
        panel.set_axis_off()
    figure.suptitle("whole files; the higher and the further left, the better", fontsize="small")
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=130)
    return data.getvalue()


def _panel(panel: Axes, table: RateTable) -> None:
    """Plots one source: fields as solid lines with dots, codecs as dashed ones."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    on_grid = all(p.bits_per_sample is not None for curve in table.codecs for p in curve.points)
    for curve in table.fields:
        _line(panel, curve, on_grid, marker="o", linewidth=1.8)
    for curve in table.codecs:
        _line(panel, curve, on_grid, marker=".", linewidth=1.2, linestyle="--")
    measure = MODALITIES[table.modality].measures[table.measure]
    panel.set_title(table.source.replace("$", r"\$"))
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda rate, position: f"{rate:,.10g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel("bits per sample" if on_grid else "bytes")
    panel.set_ylabel(f"{measure.label}, {measure.unit}" if measure.unit else measure.label)
    panel.grid(alpha=0.3, which="both")
    panel.legend(fontsize="small")


def _line(panel: Axes, curve: RateCurve, on_grid: bool, **style: Any) -> None:
    """Draws the points of a curve whose quality is finite."""
    points = [point for point in curve.points if math.isfinite(point.quality)]
    rates = [(point.bits_per_sample or 0.0) if on_grid else point.bytes for point in points]
    panel.plot(rates, [point.quality for point in points], label=curve.name.replace("$", r"\$"), **style)
