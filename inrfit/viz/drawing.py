"""Pictures with Pillow: a colour ramp, text, keys, curves over time; uint8 arrays (h, w, 3) in and out."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

Raster = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.floating[Any]]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom, pixels; the last two are inside."""

BACKGROUND, LINE, INK, PALE = (18, 18, 24), (96, 96, 108), (230, 230, 235), (104, 112, 132)

RAMP = np.array(
    [
        (0, 0, 4), (31, 12, 72), (85, 15, 109), (136, 34, 106), (186, 54, 85),
        (227, 89, 51), (249, 140, 10), (249, 201, 50), (252, 255, 164),
    ],
    np.float64,
)  # fmt: skip
"""Nine points of the map "inferno" (matplotlib, CC0): its lightness rises evenly, so more looks like more."""


def heat(shares: Numbers) -> Raster:
    """Colours (..., 3) of ``shares`` (...), 0 to 1; beyond is clipped."""
    levels = np.linspace(0, 1, 256)
    table = np.stack([np.interp(levels, np.linspace(0, 1, len(RAMP)), channel) for channel in RAMP.T], -1)
    colours: Raster = table.round().astype(np.uint8)[(np.clip(shares, 0, 1) * 255).astype(np.uint8)]
    return colours


def glowing(grey: Raster, colours: Raster) -> Raster:
    """``colours`` (h, w, 3) over a dim ``grey`` (h, w) picture, screened: neither hides the other."""
    left = (255 - grey.astype(np.uint32) // 4)[..., None] * (255 - colours.astype(np.uint32))
    return (255 - left // 255).astype(np.uint8)


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The one that Pillow brings, ``size`` pixels high."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def canvas(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty dark picture and its pen."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width, height), BACKGROUND)
    return image, ImageDraw.Draw(image)


def png(image: Image.Image) -> bytes:
    """As a file."""
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def number(value: float) -> str:
    """Three digits that matter."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def key(image: Image.Image, right: int, middle: int, top: float, size: int) -> int:
    """The ramp from 0 to ``top``, ending at ``right``, centred on the row ``middle``, text ``size`` pixels high; its
    left edge."""
    from PIL import Image, ImageDraw

    pen, letters = ImageDraw.Draw(image), font(size)
    pen.text((right, middle), number(top), INK, letters, anchor="rm")
    end = right - int(pen.textlength(number(top), letters)) - size // 2
    ramp = Image.fromarray(np.broadcast_to(heat(np.linspace(0, 1, 6 * size)), (size * 3 // 4, 6 * size, 3)).copy())
    image.paste(ramp, (end - ramp.width, middle - ramp.height // 2))
    start = end - ramp.width - size // 2
    pen.text((start, middle), "0", INK, letters, anchor="rm")
    return start - int(pen.textlength("0", letters))


def corner_key(image: Image.Image, top: float, lines: Sequence[str]) -> None:
    """The ramp under ``lines`` of text in the lower left corner of ``image``, dimmed there; nothing where that would
    hide more than a small part of it."""
    from PIL import Image, ImageDraw

    size = max(11, min(image.size) // 42)
    measure = ImageDraw.Draw(image)
    width = max(10 * size, *(int(measure.textlength(line, font(size))) for line in lines)) + size
    height = (len(lines) + 1) * size * 4 // 3 + size // 2
    if width > 0.62 * image.width or height > 0.25 * image.height:
        return
    box = (0, image.height - height, width, image.height)
    image.paste(Image.blend(image.crop(box), Image.new("RGB", (width, height), BACKGROUND), 0.75), box)
    rows = [box[1] + size + row * size * 4 // 3 for row in range(len(lines) + 1)]
    pen = ImageDraw.Draw(image)
    for row, line in zip(rows, lines, strict=False):
        pen.text((size // 2, row), line, INK, font(size), anchor="lm")
    key(image, width - size // 2, rows[-1], top, size)


def envelope(values: Numbers, columns: int) -> tuple[Numbers, Numbers]:
    """Smallest and largest of ``values`` (n,) per column, stretched so that neighbouring columns touch."""
    edges = np.arange(columns) * len(values) // columns
    low, high = np.minimum.reduceat(values, edges), np.maximum.reduceat(values, edges)
    joined_low, joined_high = low.copy(), high.copy()
    joined_low[1:], joined_high[1:] = np.minimum(low[1:], high[:-1]), np.maximum(high[1:], low[:-1])
    return joined_low, joined_high


def axes(pen: ImageDraw.ImageDraw, box: Box, title: str, seconds: float, heights: tuple[float, float]) -> None:
    """A frame around ``box``, the title above, ``heights`` (lowest, highest) left of it, seconds below."""
    left, top, right, bottom = box
    letters = font(12)
    pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=LINE)
    pen.text((left, top - 6), title, INK, letters, anchor="ls")
    pen.text((left - 6, top), number(heights[1]), INK, letters, anchor="rt")
    pen.text((left - 6, bottom), number(heights[0]), INK, letters, anchor="rb")
    step = tick(seconds, max(2, (right - left) // 60))
    for count in range(int(seconds / step + 1e-9) + 1):
        x = left + round(count * step / seconds * (right - left))
        pen.line((x, bottom + 1, x, bottom + 5), LINE)
        pen.text((x, bottom + 8), f"{count * step:g}", INK, letters, anchor="mt" if x < right - 8 else "rt")


def tick(span: float, most: int) -> float:
    """The smallest of 1, 2, 5 x 10^k that divides ``span`` into at most ``most`` parts."""
    least = span / most
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9)))


def wave(pen: ImageDraw.ImageDraw, box: Box, values: Numbers, colour: tuple[int, int, int]) -> None:
    """The curve of ``values`` (n,), from -1 to 1; beyond is clipped."""
    left, top, right, bottom = box
    low, high = envelope(np.clip(values, -1, 1), right - left + 1)
    for column, (least, most) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        ends = (round(top + (1 - y) / 2 * (bottom - top)) for y in (most, least))
        pen.line([(left + column, y) for y in ends], colour)


def bars(pen: ImageDraw.ImageDraw, box: Box, values: Numbers, top_value: float) -> None:
    """One bar a column, as high and as hot as its share of ``top_value``; ``values`` (n,) are 0 or more."""
    left, top, right, bottom = box
    columns = right - left + 1
    shares = values[np.arange(columns) * len(values) // columns] / top_value
    for column, (share, colour) in enumerate(zip(np.clip(shares, 0, 1).tolist(), heat(shares).tolist(), strict=True)):
        if share > 0:
            colour = tuple(max(channel, dim) for channel, dim in zip(colour, (40, 24, 80), strict=True))
            pen.line((left + column, bottom, left + column, round(bottom - share * (bottom - top))), colour)
