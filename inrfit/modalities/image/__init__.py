"""The modality ``image``.

- image.py: the functions of the modality.
- formats.py: reading files, by png_reader.py (png_check.py validates the file first), tiff_reader.py, netpbm.py,
  radiance.py, openexr.py and pillow_reader.py; each returns a ``Picture`` (picture.py). metadata.py: what else is kept.
- sample_types.py: number types, ranges and curves. channels.py: channels that need no fit, transparency, palettes.
- raster_decode.py: evaluating a field on pixels. quality.py: measures. comparison.py: two pictures.
  codecs.py: JPEG, WebP, AVIF and JPEG XL files to compare with. plain_codec.py: the bytes of a JPEG file.
- writing.py: what each format holds; encoders.py and png_writer.py write it.
"""

from __future__ import annotations

import math

from .. import first_frequency
from ..modality import ArchitectureRule, ArrayInput, Measure, Modality
from . import codecs, comparison, domain, image, plain_codec, quality, writing
from .channels import fitted_channels
from .formats import FORMATS
from .raster_decode import decode_need

IMAGE = Modality(
    name="image",
    signal_class="image",
    layout="raster",
    formats=FORMATS,
    input_suffixes=image.INPUT_SUFFIXES,
    output_suffixes=writing.SUFFIXES,
    measures={
        "psnr": Measure("PSNR", "dB"),
        "psnr_log2": Measure("PSNR of the logarithm", "dB"),
        "psnr_range": Measure("PSNR over the range of the samples", "dB"),
        "psnr_raw": Measure("PSNR with the colours under transparency", "dB"),
        "ssim": Measure("SSIM", tolerance=2e-4),
        "psnr_in_file": Measure("PSNR in the lossy file", "dB"),
    },
    main_measure="psnr",
    meta_schema=image.META,
    options=image.Options,
    request_fields=frozenset({"size", "scale", "bits", "image_quality", "background"}),
    request_error=lambda field: f"--{field} is not supported for images (use --size or --scale)",
    default_sampler="stream",
    architecture_rules=(
        ArchitectureRule(
            "wavelet",
            "photographs of a quality take a fraction of the bytes of a grid (docs/small-files.md)",
            {"few_bytes": (1, 1), "samples": (0, 16_000_000)},
        ),
        ArchitectureRule(
            "siren",
            "level with grids on photographs after 180 s, and gains more from then on (docs/architectures.md)",
            {"seconds": (300, 1e9), "samples": (0, 1_000_000), "weights": (math.inf, math.inf)},
        ),
        ArchitectureRule("grid", "ahead of SIREN on photographs at 20 to 60 s (docs/architectures.md)"),
    ),
    first_omega=image.first_omega,
    omega_source=first_frequency.OMEGA_SOURCE,
    sniff=image.sniff,
    load=image.load,
    estimate=quality.estimate,
    suffix=writing.default_suffix,
    decode=image.decode,
    decode_need=lambda meta, request: decode_need(meta, *image.output_size(meta, request)),
    write=writing.write,
    check_writable=image.check_writable,
    measure=image.measure,
    domain=domain.domain,
    window=domain.window,
    options_of=image.options_of,
    compare=comparison.compare,
    plain_codec=plain_codec.jpeg_bytes,
    codecs=codecs.CODECS,
    describe_source=image.describe_source,
    describe_decoded=image.describe_decoded,
    field_size=lambda meta: (2, len(fitted_channels(meta["channels"], meta["bands"]))),
    raster=lambda meta: (meta["height"], meta["width"]),
    array_input=ArrayInput(frozenset(), image.from_array),
    check_meta=image.check_meta,
    meta_before_3=image.META_BEFORE_3,
    attachment_names=frozenset({"icc", "exif"}),
)
