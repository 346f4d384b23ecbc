"""The modality ``video``: frames over time.

- video.py: the functions of the modality. meta.py: what is stored, and the options. clip.py: a clip as it was read.
- y4m.py, containers.py and container_writer.py (PyAV), animation.py and picture_sequence.py (GIF, WebP, APNG),
  frame_files.py: the formats.
  selection.py: which frames, and which part of them. colour.py: RGB from luma and chroma.
- domain.py: time and place. quality.py: measures.
"""

from __future__ import annotations

from .. import first_frequency
from ..modality import ArchitectureRule, Measure, Modality
from ..streaming import Streaming
from . import domain, meta, quality, video

VIDEO = Modality(
    name="video",
    signal_class="volume",
    layout="clip",
    formats=meta.FORMATS,
    input_suffixes=video.INPUT_SUFFIXES,
    output_suffixes=video.OUTPUT_SUFFIXES,
    measures={
        "psnr": Measure("PSNR", "dB"),
        "worst_frame": Measure("worst frame", "dB", tolerance=0.05),
        "ssim": Measure("SSIM", tolerance=2e-4),
    },
    main_measure="psnr",
    meta_schema=meta.META,
    options=meta.Options,
    request_fields=frozenset({"size", "scale", "codec", "image_quality"}),
    request_error=lambda field: f"--{field} is not supported for clips (use --size, --scale or --codec)",
    default_sampler="stream",
    architecture_rules=(ArchitectureRule("grid", "0.5 and 2.3 dB ahead of SIREN on two clips (docs/benchmarks.md)"),),
    first_omega=lambda signal: first_frequency.of_raster(signal.meta["shape"]),
    omega_source=first_frequency.OMEGA_SOURCE,
    sniff=video.sniff,
    load=video.load,
    estimate=quality.estimate,
    suffix=video.suffix,
    decode=video.decode,
    decode_need=video.decode_need,
    write=video.write,
    streaming=Streaming(video.decode_frames, video.write_frames, video.decode_frames_need, video.PIPED),
    folder_suffixes={".zip": ""},
    check_writable=video.check_writable,
    measure=quality.measure,
    domain=domain.domain,
    window=domain.window,
    compare=quality.compare,
    describe_source=video.describe_source,
    describe_decoded=video.describe_decoded,
    field_size=lambda stored: (3, stored["channels"]),
    raster=lambda stored: tuple(stored["shape"]),
    check_meta=meta.check_meta,
    attachment_names=frozenset({"header", "times"}),
)
