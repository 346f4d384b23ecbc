"""The modality ``image``.

- image.py: the functions of the modality.
- formats.py: reading files, by pillow_reader.py; png_check.py validates PNG files first.
"""

from __future__ import annotations

import math

from ..modality import ArchitectureRule, ArrayInput, Measure, Modality
from . import image
from .formats import FORMATS
from .pillow_reader import CHANNELS_BY_MODE

IMAGE = Modality(
    name="image",
    signal_class="image",
    layout="raster",
    formats=FORMATS,
    input_suffixes=image.SUFFIXES,
    output_suffixes=image.SUFFIXES,
    measures={
        "psnr": Measure("PSNR", "dB"),
        "ssim": Measure("SSIM"),
        "psnr_in_file": Measure("PSNR in the lossy file", "dB"),
    },
    main_measure="psnr",
    meta_schema=image.META,
    options=image.Options,
    request_fields=frozenset({"size", "scale"}),
    request_error=lambda field: f"--{field} is not supported for images (use --size or --scale)",
    default_sampler="stream",
    architecture_rules=(
        ArchitectureRule(
            "siren",
            "ahead of grids on photographs after 240 s (docs/architectures.md)",
            {"seconds": (180, 1e9), "samples": (0, 1_000_000), "weights": (math.inf, math.inf)},
        ),
        ArchitectureRule("grid", "ahead of SIREN on photographs at 20 to 120 s (docs/architectures.md)"),
    ),
    first_omega=image.first_omega,
    omega_source="a third of the shorter side, from 30 to 90 (tests/bench/omega.py)",
    sniff=image.sniff,
    load=image.load,
    estimate=image.estimate,
    suffix=image.suffix,
    decode=image.decode,
    write=image.write,
    check_writable=image.check_writable,
    measure=image.measure,
    describe_source=image.describe_source,
    describe_decoded=image.describe_decoded,
    field_size=lambda meta: (2, CHANNELS_BY_MODE[meta["mode"]]),
    raster=lambda meta: (meta["height"], meta["width"]),
    array_input=ArrayInput(frozenset(), image.from_array),
)
