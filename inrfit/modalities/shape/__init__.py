"""Meshes: shape.py; mesh_formats.py, reading (obj_stl_off.py, trimesh_readers.py); mesh.py, geometry;
point_sampling.py, the points that are taught."""

from __future__ import annotations

from ..modality import ArchitectureRule, Measure, Modality, Quality, always_writable
from . import shape


def _quality_warning(quality: Quality) -> str | None:
    """That there is no surface, or that the bounding box came out wrong, where it is so."""
    if quality.get("iou") == 0:
        return "the field has no surface, so that nothing can be decoded (give it a larger --budget)"
    error = quality.get("bbox_error") or 0
    return f"the decoded box is off by {error:.1%} of the longest side" if error > 0.01 else None


SHAPE = Modality(
    name="shape",
    signal_class="shape",
    layout="points",
    formats=shape.FORMATS,
    input_suffixes=shape.SUFFIXES,
    output_suffixes=shape.WRITES,
    measures={"iou": Measure("IoU"), "chamfer": Measure("Chamfer")},
    main_measure="iou",
    extra_measures=("bbox_error", "iou_resolution"),
    quality_warning=_quality_warning,
    meta_schema=shape.META,
    options=shape.Options,
    request_fields=frozenset({"resolution"}),
    request_error=lambda field: "a shape is decoded at a resolution; it has no size, rate or scale",
    default_sampler="stream",
    architecture_rules=(
        ArchitectureRule("grid", "the best on meshes in 20 s (docs/architectures.md)", {"seconds": (0, 45)}),
        ArchitectureRule("siren", "ahead of grids on meshes after a minute (docs/architectures.md)"),
    ),
    first_omega=shape.first_omega,
    omega_source="sharp enough for a surface (first experiments on two meshes)",
    paper_omega=15.0,  # INT's code: 30 on axes from -0.5 to 0.5
    sniff=shape.sniff,
    load=shape.load,
    estimate=shape.estimate,
    probe=shape.probe,
    suffix=shape.suffix,
    decode=shape.decode,
    write=shape.write,
    check_writable=always_writable,
    measure=shape.measure,
    describe_source=shape.describe_source,
    describe_decoded=shape.describe_decoded,
    field_size=lambda meta: (3, 1),
    raster=lambda meta: None,
)
