"""The modality ``points``: samples of a function at arbitrary points.

- points.py: the functions of the modality. meta.py: what is stored, and the options. frequency.py: first frequencies.
- reading.py: .npz files and tables. arrays.py: NumPy arrays.
- domain.py: the box of the samples. quality.py: measures.
"""

from __future__ import annotations

from .. import range_errors
from ..modality import ArchitectureRule, ArrayInput, Measure, Modality
from . import arrays, domain, frequency, meta, points, quality, reading

POINTS = Modality(
    name="points",
    signal_class="points",
    layout="scattered",
    formats=("NumPy archive of coords and values",),
    input_suffixes=(),
    named_suffixes=(".csv", ".tsv", ".txt", ".npy"),
    output_suffixes=(".npy",),
    measures={
        "psnr": Measure("PSNR at the samples", "dB"),
        "rmse": Measure("RMSE", tolerance=0.0, relative_tolerance=2e-3),
        "max_error": Measure("largest error", tolerance=0.0, relative_tolerance=0.02),
    },
    main_measure="psnr",
    meta_schema=meta.META,
    check_meta=meta.check_meta,
    options=meta.Options,
    options_of=meta.options_of,
    request_fields=frozenset({"size"}),
    request_error=lambda field: f"--{field} is not supported for samples at points (use --size)",
    default_sampler="stream",
    architecture_rules=(
        ArchitectureRule(
            "siren",
            "ahead of grids between the samples, unless these are many for the seconds (docs/architectures.md)",
            {"samples_per_second": (0, 5000)},
        ),
        ArchitectureRule("grid", "ahead of SIREN where samples are seen seldom (docs/architectures.md)"),
    ),
    first_omega=lambda signal: (frequency.first_omega(signal),) * signal.dimensions,
    omega_source="from the differences of neighbouring samples (docs/architectures.md)",
    sniff=reading.is_archive,
    load=points.load,
    estimate=range_errors.estimate,
    suffix=lambda stored: (".npy", None),
    decode=points.decode,
    decode_need=points.decode_need,
    whole=points.whole,
    held_out=True,
    with_attachments=points.in_own_type,
    write=points.write,
    check_writable=points.check_writable,
    measure=quality.measure,
    in_place_of=quality.in_place_of,
    domain=domain.domain,
    describe_source=points.describe_source,
    describe_decoded=points.describe_decoded,
    field_size=meta.field_size,
    raster=lambda stored: None,
    sized_like=meta.sized_like,
    array_input=ArrayInput(frozenset({"coords"}), arrays.from_arrays, frozenset({"axes", "units"}), arrays.options_of),
)
