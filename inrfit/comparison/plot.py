"""The comparison as a picture: quality against seconds, a line a method, a panel a source. Needs matplotlib."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .spec import ComparisonSpec, Method, Point, Result, Source
from .statistics import interpolate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
PANEL = (5.2, 3.9)
"""Inches."""

PLACES = 100
"""Instants at which the runs of a method are averaged."""


def png(spec: ComparisonSpec, results: Iterable[Result]) -> bytes:
    """The picture as a file. Raises ``ImportError`` without matplotlib; touches none of its global state."""
    from matplotlib.figure import Figure

    traced = [result for result in results if result.ok and result.trace]
    columns = min(len(spec.sources), COLUMNS)
    rows = math.ceil(len(spec.sources) / columns)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, source in zip(panels, spec.sources, strict=False):
        _panel(panel, spec, source, [r for r in traced if r.run_key.source == source.name])
    for panel in panels[len(spec.sources) :]:
        panel.set_axis_off()
    runs = f"mean of {spec.seeds} seeds; band: smallest to largest" if spec.seeds > 1 else "one seed"
    figure.suptitle(f"{runs}; estimated from fixed points, off the clock", fontsize="small")
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=130)
    return written.getvalue()


def _panel(panel: Axes, spec: ComparisonSpec, source: Source, results: Sequence[Result]) -> None:
    """One source: the mean over the seeds, and a band from the smallest to the largest."""
    for method in spec.methods:
        traces = [finite for result in results if _is(method, result) and (finite := _finite(result.trace))]
        if not traces:
            continue
        instants, low, mean, high = _band(traces)
        (line,) = panel.plot(
            instants, mean, label=spec.method_name(method.architecture_label, method.sampler_label), linewidth=1.5
        )
        panel.fill_between(instants, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    measure = source.kind.measures[source.kind.main_measure]
    panel.set_title(source.name.replace("$", r"\$"))
    panel.set_xlabel("seconds")
    panel.set_ylabel(f"{measure.label}, {measure.unit}" if measure.unit else measure.label)
    panel.grid(alpha=0.3)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(fontsize="small")


def _band(traces: Sequence[Sequence[Point]]) -> tuple[list[float], list[float], list[float], list[float]]:
    """Instants in seconds, and the smallest, mean and largest quality there, over the time that all traces cover."""
    begin = max(trace[0].seconds for trace in traces)
    end = max(begin, min(trace[-1].seconds for trace in traces))
    instants = [begin + (end - begin) * k / (PLACES - 1) for k in range(PLACES)]
    curves = [
        [interpolate([p.seconds for p in trace], [p.quality for p in trace], instant) for instant in instants]
        for trace in traces
    ]
    together: list[Any] = list(zip(*curves, strict=True))
    return (
        instants,
        [min(values) for values in together],
        [sum(values) / len(values) for values in together],
        [max(values) for values in together],
    )


def _is(method: Method, result: Result) -> bool:
    return (result.run_key.arch, result.run_key.sampler) == (method.architecture_label, method.sampler_label)


def _finite(trace: Sequence[Point]) -> list[Point]:
    """The points that can be drawn: exact fits cannot."""
    return [point for point in trace if math.isfinite(point.quality)]
