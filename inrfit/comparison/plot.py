"""Plot of a comparison: quality over time, with a panel for each source and a line for each method. Needs
matplotlib."""

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
"""Maximum number of panels in a row."""

PANEL = (5.2, 3.9)
"""Width and height of a panel in inches."""

SAMPLED_TIMES = 100
"""Number of times at which the runs of a method are averaged."""


def png(spec: ComparisonSpec, results: Iterable[Result]) -> bytes:
    """The plot as the bytes of a PNG file. Raises ``ImportError`` without matplotlib; its global state is not used."""
    from matplotlib.figure import Figure

    finished = [result for result in results if result.ok and result.trace]
    columns = min(len(spec.sources), COLUMNS)
    rows = math.ceil(len(spec.sources) / columns)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, source in zip(panels, spec.sources, strict=False):
        _panel(panel, spec, source, [r for r in finished if r.run_key.source == source.name])
    for panel in panels[len(spec.sources) :]:
        panel.set_axis_off()
    runs = f"mean of {spec.seeds} seeds; band: smallest to largest" if spec.seeds > 1 else "one seed"
    figure.suptitle(f"{runs}; estimated on fixed points, outside the budget", fontsize="small")
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=130)
    return data.getvalue()


def _panel(panel: Axes, spec: ComparisonSpec, source: Source, results: Sequence[Result]) -> None:
    """Plots one source: for each method the mean over the seeds, and a band from the minimum to the maximum."""
    for method in spec.methods:
        traces = [finite for result in results if _belongs_to(method, result) and (finite := _finite(result.trace))]
        if not traces:
            continue
        times, low, mean, high = _band(traces)
        (line,) = panel.plot(
            times, mean, label=spec.method_name(method.architecture_label, method.sampler_label), linewidth=1.5
        )
        panel.fill_between(times, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    measure = source.kind.measures[source.kind.main_measure]
    panel.set_title(source.name.replace("$", r"\$"))
    panel.set_xlabel("seconds")
    panel.set_ylabel(f"{measure.label}, {measure.unit}" if measure.unit else measure.label)
    panel.grid(alpha=0.3)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(fontsize="small")


def _band(traces: Sequence[Sequence[Point]]) -> tuple[list[float], list[float], list[float], list[float]]:
    """Times in seconds within the range that all traces cover, and the minimum, mean and maximum quality at each."""
    begin = max(trace[0].seconds for trace in traces)
    end = max(begin, min(trace[-1].seconds for trace in traces))
    times = [begin + (end - begin) * k / (SAMPLED_TIMES - 1) for k in range(SAMPLED_TIMES)]
    curves = [
        [interpolate([p.seconds for p in trace], [p.quality for p in trace], time) for time in times]
        for trace in traces
    ]
    values_by_time: list[Any] = list(zip(*curves, strict=True))
    return (
        times,
        [min(values) for values in values_by_time],
        [sum(values) / len(values) for values in values_by_time],
        [max(values) for values in values_by_time],
    )


def _belongs_to(method: Method, result: Result) -> bool:
    """Whether the result is one of the runs of the method."""
    return (result.run_key.arch, result.run_key.sampler) == (method.architecture_label, method.sampler_label)


def _finite(trace: Sequence[Point]) -> list[Point]:
    """The points with a finite quality: exact fits cannot be drawn."""
    return [point for point in trace if math.isfinite(point.quality)]
