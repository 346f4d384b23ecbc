"""The modality ``volume``: regular arrays on one to four axes.

- volume.py: the functions of the modality. meta.py: what is stored, and the options. raw_volume.py: a volume as it was
  read, and the place of its grid.
- formats.py: recognises formats; one file each reads and writes it: numpy_files.py, nifti.py, nrrd.py, nrrd_writer.py,
  metaimage.py, vtk_xml.py, vtk_legacy.py, tiff_stack.py, netcdf.py, raw_samples.py. compression.py: bounded unpacking.
- coordinates.py: axes with positions. HDF5 and netCDF-4: hdf5.py, hdf5_file.py, hdf5_copy.py, hdf5_attributes.py,
  hdf5_writer.py. Zarr: zarr_files.py, zarr_store.py, zarr_nodes.py, zarr_images.py, zarr_arrays.py, zarr_writer.py.
  chunk_sizes.py: what chunks unpack to.
- picture.py: a slice as PNG. arrays.py: NumPy arrays. raster_decode.py: evaluating a field on a grid. quality.py:
  measures.
"""

from __future__ import annotations

from .. import first_frequency, range_errors
from ..modality import ArchitectureRule, ArrayInput, Measure, Modality
from . import arrays, domain, formats, meta, picture, quality, raster_decode, volume

VOLUME = Modality(
    name="volume",
    signal_class="volume",
    layout="volume",
    formats=tuple(formats.FORMATS),
    input_suffixes=formats.INPUT_SUFFIXES,
    named_suffixes=(".raw", ".bin", ".dat"),
    output_suffixes=(*formats.SUFFIXES, picture.SUFFIX),
    measures={
        "psnr": Measure("PSNR over the range of the samples", "dB"),
        "rmse": Measure("RMSE", tolerance=0.0, relative_tolerance=2e-3),
        "max_error": Measure("largest error", tolerance=0.0, relative_tolerance=0.02),
        "ssim": Measure("SSIM by slices", tolerance=2e-4),
    },
    main_measure="psnr",
    meta_schema=meta.META,
    options=meta.Options,
    request_fields=frozenset({"size", "scale"}),
    request_error=lambda field: f"--{field} is not supported for volumes (use --size or --scale)",
    default_sampler="stream",
    architecture_rules=(
        ArchitectureRule(
            "siren",
            "4 dB ahead of a grid on two heads whose samples were each trained on 50 times (docs/benchmarks.md)",
            {"samples_per_second": (0, 20_000)},
        ),
        ArchitectureRule("grid", "ahead of SIREN where samples are seen less often (docs/benchmarks.md)"),
    ),
    first_omega=lambda signal: first_frequency.of_raster(signal.meta["shape"]),
    omega_source=first_frequency.OMEGA_SOURCE,
    sniff=volume.sniff,
    load=volume.load,
    estimate=range_errors.estimate,
    suffix=volume.suffix,
    decode=volume.decode,
    decode_need=lambda stored, request: raster_decode.decode_need(stored, volume.output_shape(stored, request)),
    write=volume.write,
    folder_suffixes={".zarr.zip": ".zarr"},
    check_writable=volume.check_writable,
    measure=quality.measure,
    domain=domain.domain,
    window=domain.window,
    compare=quality.compare,
    options_of=meta.options_of,
    with_attachments=volume.with_missing,
    header_suffixes=frozenset({".mhd", ".nhdr"}),
    companion=formats.companion,
    describe_source=volume.describe_source,
    describe_decoded=volume.describe_decoded,
    field_size=meta.field_size,
    raster=lambda stored: tuple(stored["shape"]),
    array_input=ArrayInput(frozenset({"axes"}), arrays.from_array, frozenset({"spacing", "units"}), arrays.options_of),
    check_meta=meta.check_meta,
    attachment_names=frozenset({"header", "trailer", "mask"}),
)
