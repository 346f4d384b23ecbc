"""The modality ``shape``.

- shape.py: the functions of the modality.
- mesh_formats.py: reading files, by obj_stl_off.py, ply.py, gltf.py and threemf.py; polygons.py cuts polygons.
- normalisation.py: checks and the place in the box; orientation.py: which side is outside.
- surface.py: a field on a grid and its surface. quality.py: measures. draco.py: Draco files to compare with.
- mesh.py: distance queries. detail.py: what a grid can hold. mesh_writers.py: writing files.
- point_sampling.py: the training points.
"""

from __future__ import annotations

from ..modality import ArchitectureRule, Measure, Modality, Quality
from . import domain, draco, node_distances, quality, shape
from .mesh_formats import FORMATS


def _quality_warning(quality: Quality) -> str | None:
    """A warning about a field without a surface, or about a wrong bounding box."""
    iou = quality.get("iou", 1)
    if iou is None or not iou > 0:
        return "the field has no surface, so nothing can be decoded (try a larger --budget)"
    error = quality.get("bbox_error") or 0
    return f"the decoded bounding box is off by {error:.1%} of the longest side" if error > 0.01 else None


SHAPE = Modality(
    name="shape",
    signal_class="shape",
    layout="points",
    formats=FORMATS,
    input_suffixes=shape.INPUT_SUFFIXES,
    output_suffixes=shape.OUTPUT_SUFFIXES,
    measures={
        "iou": Measure("IoU", tolerance=2e-4),
        "chamfer": Measure("Chamfer", tolerance=0.0, relative_tolerance=0.02),
        "psnr_colour": Measure("PSNR of the colours", "dB"),
    },
    main_measure="iou",
    options_of=shape.options_of,
    in_place_of=quality.in_place_of,
    compare=quality.compare,
    codecs=draco.CODECS,
    rounding_loss=0.0005,
    extra_measures=("bbox_error", "iou_resolution"),
    quality_warning=_quality_warning,
    meta_schema=shape.META,
    options=shape.Options,
    request_fields=frozenset({"resolution", "faces", "centred"}),
    request_error=lambda field: f"--{field} is not supported for shapes (use --resolution)",
    default_sampler="stream",
    architecture_rules=(
        ArchitectureRule(
            "tsdf",
            "shapes of an IoU take a fraction of the bytes of a grid (docs/small-files.md)",
            {"few_bytes": (1, 1)},
        ),
        ArchitectureRule(
            "grid",
            "level with SIREN on a mesh in 10 s, and decoded sooner (docs/architectures.md)",
            {"seconds": (0, 8)},
        ),
        ArchitectureRule("siren", "ahead of grids on meshes after 10 and 20 s (docs/architectures.md)"),
    ),
    first_omega=shape.first_omega,
    omega_source="best of 30, 60 and 90 on meshes (docs/benchmarks.md)",
    paper_omega=15.0,  # INT's code: 30 on axes from -0.5 to 0.5
    sniff=shape.sniff,
    load=shape.load,
    estimate=quality.estimate,
    values_on=node_distances.values_on,
    probe=quality.probe,
    suffix=shape.suffix,
    decode=shape.decode,
    decode_need=shape.decode_need,
    write=shape.write,
    check_writable=shape.check_writable,
    losses=shape.losses,
    meta_before_3=shape.META_BEFORE_3,
    check_meta=shape.check_meta,
    measure=quality.measure,
    domain=domain.domain,
    describe_source=shape.describe_source,
    describe_decoded=shape.describe_decoded,
    field_size=lambda meta: (3, 4 if meta["colours"] else 1),
    raster=lambda meta: None,
)
