"""The modality ``audio``.

- audio.py: the functions of the modality.
- reading.py: reading files, after containers.py, riff.py, flac.py and iff.py have checked their headers; mpeg4.py.
- speakers.py: orders of channels. tags.py: what else is kept.
- sample_formats.py: number types and subtypes of samples. resampling.py: lower rates.
- writing.py: writing files, within the limits of each format.
- codecs.py: Opus, MP3 and Ogg Vorbis files to compare with. plain_codec.py: the bytes of an Ogg Vorbis file.
"""

from __future__ import annotations

import math

from ..modality import ArchitectureRule, ArrayInput, Measure, Modality
from . import arrays, audio, codecs, domain, plain_codec, writing
from .containers import FORMATS

AUDIO = Modality(
    name="audio",
    signal_class="audio",
    layout="timeline",
    formats=FORMATS,
    input_suffixes=audio.INPUT_SUFFIXES,
    output_suffixes=writing.OUTPUT_SUFFIXES,
    measures={
        "psnr": Measure("PSNR", "dB"),
        "snr": Measure("SNR", "dB"),
        "si_snr": Measure("SI-SNR", "dB"),
        "snr_in_file": Measure("SNR in the lossy file", "dB"),
    },
    main_measure="snr",
    meta_schema=audio.META,
    meta_before_3=audio.META_BEFORE_3,
    attachment_names=frozenset({"riff", "flac"}),
    check_meta=audio.check_meta,
    options=audio.Options,
    request_fields=frozenset({"rate"}),
    request_error=lambda field: f"--{field} is not supported for sounds (use --rate)",
    default_sampler="stream",
    architecture_rules=(
        ArchitectureRule(
            "mdct",
            "sounds of a quality take a fraction of the bytes of a grid (docs/small-files.md)",
            {"few_bytes": (1, 1), "samples": (0, 32_000_000)},
        ),
        ArchitectureRule(
            "siren",
            "ahead on short sounds after 20 s, of which a grid has fewer weights (docs/architectures.md)",
            {"seconds": (15, 1e9), "samples": (0, 120_000), "weights": (math.inf, math.inf)},
        ),
        ArchitectureRule("grid", "ahead of SIREN on long sounds, and on short ones below 15 s (docs/architectures.md)"),
    ),
    first_omega=audio.first_omega,
    omega_source="from the frequency below which 95 % of the energy lies (tests/bench/omega.py)",
    paper_omega=150.0,  # INT's code: 30 on an axis from -5 to 5
    sniff=audio.sniff,
    load=audio.load,
    estimate=audio.estimate,
    suffix=writing.suffix,
    decode=audio.decode,
    decode_need=audio.decode_need,
    write=writing.write,
    losses=writing.losses,
    compare=audio.compare,
    plain_codec=plain_codec.vorbis_bytes,
    codecs=codecs.CODECS,
    check_writable=writing.check_writable,
    measure=audio.measure,
    domain=domain.domain,
    window=domain.window,
    describe_source=audio.describe_source,
    describe_decoded=audio.describe_decoded,
    field_size=lambda meta: (1, meta["channels"]),
    raster=lambda meta: (meta["frames"],),
    array_input=ArrayInput(frozenset({"rate"}), arrays.from_array),
    sample_rate=lambda meta: meta["rate"],
)
