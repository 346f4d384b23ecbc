"""Pictures as JPEG, WebP, AVIF and JPEG XL files, beside which fields are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

import numpy as np

from ...errors import UsageError
from ...io import extras
from ...io.limits import Limits
from ...signal import Signal
from ..declarations import Codec
from ..metrics import psnr
from ..modality import OnProgress
from . import formats
from .picture import Raster
from .quality import source_raster
from .writing import FORMATS

Meta = Mapping[str, Any]

_GREY_SHARES = np.array([0.299, 0.587, 0.114])
"""Shares of red, green and blue in the grey value of a pixel (ITU-R BT.601)."""

_AVIF_SPEED = 4
"""Speed of the AVIF encoder from 0 (smallest files) to 10. A picture of 0.4 million pixels takes some 5 s at 4."""


def lossy_file(raster: Raster, name: str, **options: Any) -> bytes:
    """The bytes of a file of 8-bit samples (h, w, c), grey or RGB, in the format ``name`` of Pillow, without
    metadata."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(raster[..., 0] if raster.shape[2] == 1 else raster).save(file, name, **options)
    return file.getvalue()


def holds_samples(meta: Meta) -> bool:
    """Whether a picture has 8 bits, grey or RGB."""
    return meta["mode"] in ("L", "RGB") and meta["bits"] == 8 and meta["scale"]["dtype"] == "uint8"


def _unsuited(suffix: str) -> Callable[[Meta], str | None]:
    """Why the format of ``suffix`` cannot hold a picture."""

    def unsuited(meta: Meta) -> str | None:
        side = max(meta["width"], meta["height"])
        if not holds_samples(meta):
            return "codecs are compared on pictures of 8 bits, grey or RGB, without transparency"
        limit = FORMATS[suffix].max_side
        return f"{FORMATS[suffix].name} has at most {limit:,} pixels a side, not {side:,}" if side > limit else None

    return unsuited


def _pillow(feature: str = "") -> Callable[[], str]:
    """A function that returns Pillow and its version, or raises ``UsageError`` if it was built without ``feature``."""

    def writer() -> str:
        import PIL
        from PIL import features

        if feature and not features.check(feature):
            raise UsageError(f"this Pillow was built without {feature}: pip install --upgrade pillow", "extra")
        return f"Pillow {PIL.__version__}"

    return writer


def _jxl_writer() -> str:
    """The plug-in of Pillow that writes JPEG XL, and its version."""
    from importlib.metadata import version

    extras.load("pillow_jxl", "the codec jxl")
    return f"pillow-jxl-plugin {version('pillow-jxl-plugin')}"


def _trial(signal: Signal, options: list[dict[str, Any]], name: str) -> tuple[int, float]:
    """Bytes and PSNR of the picture in the format ``name`` of Pillow: the smallest of the files written with each of
    ``options``, which must decode alike."""
    raster = source_raster(signal)
    data = min((lossy_file(raster, name, **chosen) for chosen in options), key=len)
    height, width, bands = raster.shape
    decoded = formats.read(data, "", formats.Reading(), Limits(max_pixels=height * width))[1].raster
    if bands == 1 and decoded.shape[2] == 3:  # WebP has no grey pictures
        decoded = np.rint(decoded @ _GREY_SHARES).astype(np.uint8)[..., None]
    return len(data), psnr(decoded, raster, 255.0)


def _jpeg(signal: Signal, settings: Mapping[str, Any], on_progress: OnProgress) -> tuple[int, float]:
    """A JPEG file with Huffman tables of its own, progressive if that is smaller."""
    options = [{**settings, "optimize": True, "progressive": progressive} for progressive in (False, True)]
    return _trial(signal, options, "JPEG")


def _jpeg_ladder(meta: Meta) -> list[dict[str, Any]]:
    """Qualities, of colours with chroma at half the size and at the full size."""
    chroma = [{}] if meta["mode"] == "L" else [{"subsampling": "4:2:0"}, {"subsampling": "4:4:4"}]
    return [{"quality": quality, **kind} for quality in (4, 10, 20, 35, 50, 70, 85, 93, 98) for kind in chroma]


def _codec(
    name: str, suffix: str, writer: Callable[[], str], qualities: tuple[int, ...], options: dict[str, Any]
) -> Codec:
    """The codec of a format of Pillow with one setting, its quality; ``options`` are always the same."""
    return Codec(
        writer,
        _unsuited(suffix),
        lambda meta: [{"quality": quality} for quality in qualities],
        lambda signal, settings, on_progress: _trial(signal, [{**settings, **options}], name),
    )


_AVIF_QUALITIES = (5, 20, 35, 50, 60, 70, 80, 90)
_QUALITIES = (1, 8, 20, 35, 50, 70, 85, 93, 98)
CODECS: dict[str, Codec] = {
    "jpeg": Codec(_pillow(), _unsuited(".jpg"), _jpeg_ladder, _jpeg),
    "webp": _codec("WEBP", ".webp", _pillow("webp"), _QUALITIES, {"method": 6}),
    "avif": _codec("AVIF", ".avif", _pillow("avif"), _AVIF_QUALITIES, {"subsampling": "4:4:4", "speed": _AVIF_SPEED}),
    "jxl": _codec("JXL", ".jxl", _jxl_writer, _QUALITIES, {}),
}
"""The codecs of pictures by name."""
