"""What ``inrfit encode`` prints about a fit: the plan, the choices with their reasons, and the summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import InrfitError, printable
from ..fit.outcome import Outcome
from .console import Console, format_quality, print_output
from .paths import STDIO, Job, with_existing_folder

if TYPE_CHECKING:
    from ..artifact.artifact import Artifact
    from ..config.plan import Plan
    from ..fields import FieldSpec
    from ..fit.recipe import Recipe


def field_sizes(spec: FieldSpec, stored: int, source: int | None, samples: int) -> dict[str, Any]:
    """Sizes and costs of a field of ``stored`` bytes whose source has ``source`` bytes, for the JSON object. Bits per
    sample are None if the number of samples is not known yet (shapes, whose points are drawn during the fit), or the
    bytes of the source are not known."""
    return {
        "parameters": spec.parameters,
        "bits_per_sample": 8 * stored / samples if samples else None,
        "source_bytes": source,
        "source_bits_per_sample": 8 * source / samples if samples and source is not None else None,
        "macs_per_sample": spec.macs,
        "sines_per_sample": spec.sines,
    }


def format_sizes(sizes: Mapping[str, Any]) -> str:
    """The result of ``field_sizes`` in one line."""
    bits = ""
    if sizes["bits_per_sample"] is not None:
        bits = f", {sizes['bits_per_sample']:.2f} bits per sample (source {sizes['source_bits_per_sample']:.2f})"
    return (
        f"{sizes['parameters']:,} parameters{bits}; {sizes['macs_per_sample']:,} MACs and "
        f"{sizes['sines_per_sample']:,} sines per sample"
    )


def print_summary(
    job: Job,
    output: str,
    size: int,
    artifact: Artifact,
    source_notes: int,
    console: Console,
    writing: float,
    total: float,
) -> None:
    """Prints the summary of a fit. ``size`` is that of the output in bytes, ``writing`` and ``total`` are seconds. The
    first ``source_notes`` notes were printed before the fit."""
    from ..modalities import MODALITIES

    modality = MODALITIES[artifact.modality]
    spent, provenance = artifact.provenance["spent"], artifact.provenance
    source_bytes = provenance["source"]["bytes"]
    shown = "standard output" if output == STDIO else output
    console.log(f"{job.name} -> {shown}: {format_quality(artifact.quality, modality.measures)}")
    console.log(f"  {describe_store(artifact, size)}, {compare_bytes(size, source_bytes, artifact)}")
    console.log(f"  {format_sizes(field_sizes(artifact.spec, size, source_bytes, provenance['samples']))}")
    since = "since it was resumed" if "resumed_at_step" in provenance["settings"] else "in total"
    for line in _fit_lines(provenance):
        console.log(f"  {line}")
    console.log(
        f"  outside the budget: reading {spent['read_seconds']:.1f} s, final check {spent['check_seconds']:.1f} s, "
        f"writing {writing:.1f} s; {total:.1f} s {since}"
    )
    print_notes(job, artifact, source_notes, console)
    if (caution := modality.quality_warning(artifact.quality)) is not None:
        console.warn(job.name, caution)
    if provenance["target_reached"] is False:
        console.warn(job.name, "the target was not reached within the budget")


def _fit_lines(provenance: Mapping[str, Any]) -> list[str]:
    """The time that a fit took, and what the sampler did."""
    spent = provenance["spent"]
    of_it = "before it" if provenance["settings"].get("clock") == "fit" else "of it"
    started = f"starting torch {spent['startup_seconds']:.1f} s {of_it}"
    if provenance.get("ended") == Outcome.CLOSED_FORM.slug:
        coding = spent.get("coding_seconds", 0.0)
        return [f"fit: {spent['fit_seconds']:.1f} s ({started}, coding {coding:.1f} s); no steps: closed form"]
    share = spent["sampler_seconds"] / max(spent["fit_seconds"], 1e-9)
    return [
        f"fit: {spent['fit_seconds']:.1f} s (ended: {provenance['ended']}; {started}), {spent['steps']:,} steps on "
        f"{spent['points']:,} samples",
        f"sampler {provenance['sampler']['name']}: {share:.1%} of the fit, {spent['scoring_passes']} scoring passes; "
        f"samples chosen by {format_origins(spent['origin'])}",
    ]


def print_notes(job: Job, artifact: Artifact, source_notes: int, console: Console) -> None:
    """Prints what happened during a fit as warnings; the first ``source_notes`` were printed before."""
    for note in artifact.provenance["notes"][source_notes:]:
        console.warn(job.name, note)


def describe_store(artifact: Artifact, size: int) -> str:
    """The bytes of a field, and how its weights are stored."""
    kind = artifact.store
    if kind == "int":
        bits = 8 * size / artifact.spec.parameters
        kind = f"integers, {bits:.{1 if bits >= 1 else 2}f} bits a weight"
    return f"{size:,} bytes ({kind})"


def compare_bytes(size: int, source: int, artifact: Artifact) -> str:
    """The bytes of a field beside those of its source, and of a common lossy format for the same quality."""
    from ..modalities.notes import PART  # here, because help pages do without NumPy

    times, plain = size / max(source, 1), artifact.quality.get("plain_codec_bytes")
    text = f"{times:.{2 if times < 1 else 1 if times < 10 else 0}f} times the source's {source:,}"
    if any(note.startswith(PART) for note in artifact.provenance.get("notes", ())):
        return f"{text}, of which a part was fitted"
    if isinstance(plain, int):
        text += f"; {artifact.quality.get('plain_codec')} needs about {plain:,} for this quality"
    if size > source >= 4000:
        text += f"; --bytes {source // 1000}kB makes it no larger, at a price in quality"
    return text


def format_origins(origins: Mapping[str, int]) -> str:
    """Numbers of training samples by the rule that chose them, in one line."""
    return (
        ", ".join(f"{'uniform' if name == 'chance' else name} {count:,}" for name, count in sorted(origins.items()))
        or "none"
    )


def summary_record(
    job: Job, output: str, size: int, artifact: Artifact, writing: float, total: float
) -> dict[str, Any]:
    """The JSON object of a fit."""
    from ..artifact.provenance import kept

    provenance = artifact.provenance
    record = {"ok": True, "source": job.source, "output": output, "bytes": size, "seconds": round(total, 3)}
    record |= {"store": artifact.store}
    record |= field_sizes(artifact.spec, size, provenance["source"]["bytes"], provenance["samples"])
    record |= {"write_seconds": round(writing, 3), "quality": artifact.quality, "spent": provenance["spent"]}
    record |= {"ended": provenance["ended"], "target_reached": provenance["target_reached"]}
    if provenance.get("ended") == Outcome.INTERRUPTED.slug:
        record |= {"interrupted": True}
    return record | {"provenance": kept(provenance, artifact.provenance_kept)}


def show_recipe(planned: Plan, spec: FieldSpec, recipe: Recipe, console: Console, explain: bool) -> None:
    """Prints the choices made for the fit: with ``-v`` in one line, with ``--explain`` with their reasons."""
    from ..fit.explanation import explain as reasons

    why = "the best measured (docs/samplers.md)"
    if spec.formula.TRAITS.shares_blocks:
        why = "keeps whole the blocks that share work (docs/architectures.md)"
    why = why if planned.settings.sampler == "auto" else "set by the user"
    explained = reasons(
        recipe, spec, planned.signal, planned.settings.regime, planned.explicit_options, planned.spec.options
    )
    sampler = [] if spec.formula.TRAITS.closed_form else [("sampler", planned.sampler_name, why)]
    rows = [*planned.choices, *sampler, *explained]
    if not explain:
        console.log("  " + ", ".join(f"{key} {value}" for key, value, _ in rows), level=1)
        return
    for key, value, why in rows:
        console.log(f"  {key:<14} {value:<14} {why}")


def show_plan(job: Job, planned: Plan, console: Console, force: bool, explain: bool) -> None:
    """Prints the plan of ``--dry-run`` on stdout."""
    from ..config.plan import check_memory

    spec, memory = planned.spec, check_memory(planned)
    problem = output_problem(job, force)
    if not console.as_json:
        print_output("".join(printable(line) + "\n" for line in plan_lines(job, planned, memory, problem)))
    if explain:
        from ..execution import choose_recipe
        from ..fit.engine.step import choose_device

        spec, recipe = choose_recipe(planned, choose_device(planned.settings.device))
        show_recipe(planned, spec, recipe, console, explain)
    console.print_json(plan_record(job, planned, spec, memory, problem))


def output_problem(job: Job, force: bool) -> str | None:
    """Why the outputs could not be written; None if they could."""
    from ..io import files

    try:
        if job.output != STDIO:
            files.check_target(with_existing_folder(job.output) if job.in_folder else job.output, force)
        job.pictures.check(force)
    except InrfitError as error:
        return str(error)
    return None


def plan_sizes(planned: Plan) -> dict[str, Any]:
    """The sizes of the planned field."""
    return field_sizes(planned.spec, planned.stored_bytes, planned.bytes, planned.signal.n)


def plan_lines(job: Job, planned: Plan, memory: int, problem: str | None) -> list[str]:
    """The plan as lines of text; ``memory`` is in bytes."""
    signal, spec = planned.signal, planned.spec
    steps = f"{planned.sampler}, batch {planned.settings.batch}"
    if spec.formula.TRAITS.closed_form is not None:
        steps = "closed form"
    return [
        f"{job.name} -> {job.output}",
        *([f"  would fail: {problem}"] if problem else []),
        f"  kept: {planned.modality.describe_source(signal.meta)}",
        *(f"  note: {note}" for note in signal.notes),
        f"  plan: {spec.architecture} {spec.depth}x{spec.width}, {spec.parameters:,} parameters "
        f"stored as {planned.store}, {steps}, budget {planned.budget}",
        f"  stored: about {planned.stored_bytes:,} bytes (source: {planned.bytes:,}): "
        f"{format_sizes(plan_sizes(planned))}",
        f"  memory: about {memory / 1e9:.1f} GB at most",
    ]


def plan_record(job: Job, planned: Plan, spec: FieldSpec, memory: int, problem: str | None) -> dict[str, Any]:
    """The JSON object of the plan. With ``--explain``, ``spec`` is the one that the recipe has chosen."""
    return {
        "ok": True,
        "source": job.source,
        "output": job.output,
        "dry_run": True,
        "problem": problem,
        "modality": planned.modality.name,
        "signal": dict(planned.signal.meta),
        "samples": planned.signal.n,
        "notes": list(planned.signal.notes),
        "sampler": planned.sampler_name,
        "field": spec.json(),
        "store": planned.store,
        "stored_bytes": planned.stored_bytes,
        **plan_sizes(planned),
        "memory_bytes": memory,
    }
