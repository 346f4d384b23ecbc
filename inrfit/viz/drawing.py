"""Drawing with Pillow: colour map, text, colour bars and curves over time. Images are uint8 arrays (h, w, 3)."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating[Any]]
Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; right and bottom belong to the box."""

BACKGROUND, LINE, INK, PALE = (18, 18, 24), (96, 96, 108), (230, 230, 235), (104, 112, 132)

INFERNO = np.array(
    [
        (0, 0, 4), (31, 12, 72), (85, 15, 109), (136, 34, 106), (186, 54, 85),
        (227, 89, 51), (249, 140, 10), (249, 201, 50), (252, 255, 164),
    ],
    np.float64,
)  # fmt: skip
"""Nine colours of the colour map "inferno" (matplotlib, CC0), whose lightness rises evenly."""


def heat_colours(shares: Floats) -> Pixels:
    """Colours (..., 3) of ``shares`` (...), which are clipped to [0, 1]."""
    levels = np.linspace(0, 1, 256)
    table = np.stack([np.interp(levels, np.linspace(0, 1, len(INFERNO)), channel) for channel in INFERNO.T], -1)
    colours: Pixels = table.round().astype(np.uint8)[(np.clip(shares, 0, 1) * 255).astype(np.uint8)]
    return colours


def screen_over_grey(grey: Pixels, colours: Pixels) -> Pixels:
    """Screen blend of ``colours`` (h, w, 3) and a dimmed ``grey`` (h, w) image, in which both remain visible."""
    darkness = (255 - grey.astype(np.uint32) // 4)[..., None] * (255 - colours.astype(np.uint32))
    return (255 - darkness // 255).astype(np.uint8)


def default_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font included in Pillow, ``size`` pixels high."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def new_canvas(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty dark image, and the object that draws on it."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (width, height), BACKGROUND)
    return image, ImageDraw.Draw(image)


def png_bytes(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def format_number(value: float) -> str:
    """``value`` with three significant digits; without decimals from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def draw_colour_bar(image: Image.Image, right: int, middle: int, limit: float, size: int) -> int:
    """Draws a colour bar from 0 to ``limit`` that ends at the column ``right`` and is centred on the row ``middle``,
    with text of ``size`` pixels; returns the column of its left edge."""
    from PIL import Image, ImageDraw

    pen, letters = ImageDraw.Draw(image), default_font(size)
    pen.text((right, middle), format_number(limit), INK, letters, anchor="rm")
    end = right - int(pen.textlength(format_number(limit), letters)) - size // 2
    ramp = Image.fromarray(
        np.broadcast_to(heat_colours(np.linspace(0, 1, 6 * size)), (size * 3 // 4, 6 * size, 3)).copy()
    )
    image.paste(ramp, (end - ramp.width, middle - ramp.height // 2))
    start = end - ramp.width - size // 2
    pen.text((start, middle), "0", INK, letters, anchor="rm")
    return start - int(pen.textlength("0", letters))


def draw_corner_legend(image: Image.Image, limit: float, lines: Sequence[str]) -> None:
    """Draws ``lines`` of text and a colour bar from 0 to ``limit`` in the lower left corner of ``image``, which is
    dimmed there; draws nothing if that would hide more than a small part of the image."""
    from PIL import Image, ImageDraw

    size = max(11, min(image.size) // 42)
    measure = ImageDraw.Draw(image)
    width = max(10 * size, *(int(measure.textlength(line, default_font(size))) for line in lines)) + size
    height = (len(lines) + 1) * size * 4 // 3 + size // 2
    if width > 0.62 * image.width or height > 0.25 * image.height:
        return
    box = (0, image.height - height, width, image.height)
    image.paste(Image.blend(image.crop(box), Image.new("RGB", (width, height), BACKGROUND), 0.75), box)
    rows = [box[1] + size + row * size * 4 // 3 for row in range(len(lines) + 1)]
    pen = ImageDraw.Draw(image)
    for row, line in zip(rows, lines, strict=False):
        pen.text((size // 2, row), line, INK, default_font(size), anchor="lm")
    draw_colour_bar(image, width - size // 2, rows[-1], limit, size)


def envelope(values: Floats, columns: int) -> tuple[Floats, Floats]:
    """Smallest and largest of ``values`` (n,) in each column, extended so that neighbouring columns touch."""
    edges = np.arange(columns) * len(values) // columns
    low, high = np.minimum.reduceat(values, edges), np.maximum.reduceat(values, edges)
    joined_low, joined_high = low.copy(), high.copy()
    joined_low[1:], joined_high[1:] = np.minimum(low[1:], high[:-1]), np.maximum(high[1:], low[:-1])
    return joined_low, joined_high


def draw_axes(pen: ImageDraw.ImageDraw, box: Box, title: str, seconds: float, heights: tuple[float, float]) -> None:
    """Draws a frame around ``box``, the title above it, the values ``heights`` (lowest, highest) left of it, and a
    scale of 0 to ``seconds`` below it."""
    left, top, right, bottom = box
    letters = default_font(12)
    pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=LINE)
    pen.text((left, top - 6), title, INK, letters, anchor="ls")
    pen.text((left - 6, top), format_number(heights[1]), INK, letters, anchor="rt")
    pen.text((left - 6, bottom), format_number(heights[0]), INK, letters, anchor="rb")
    step = axis_step(seconds, max(2, (right - left) // 60))
    for count in range(int(seconds / step + 1e-9) + 1):
        x = left + round(count * step / seconds * (right - left))
        pen.line((x, bottom + 1, x, bottom + 5), LINE)
        pen.text((x, bottom + 8), f"{count * step:g}", INK, letters, anchor="mt" if x < right - 8 else "rt")


def axis_step(span: float, most: int) -> float:
    """The smallest step of the form 1, 2 or 5 x 10^k that divides ``span`` into at most ``most`` parts."""
    least = span / most
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9)))


def draw_wave(pen: ImageDraw.ImageDraw, box: Box, values: Floats, colour: tuple[int, int, int]) -> None:
    """Draws the curve of ``values`` (n,), which are clipped to [-1, 1]."""
    left, top, right, bottom = box
    low, high = envelope(np.clip(values, -1, 1), right - left + 1)
    for column, (least, most) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        ends = (round(top + (1 - y) / 2 * (bottom - top)) for y in (most, least))
        pen.line([(left + column, y) for y in ends], colour)


def draw_bars(pen: ImageDraw.ImageDraw, box: Box, values: Floats, limit: float) -> None:
    """Draws a bar per column of pixels, whose height and colour show its share of ``limit``; ``values`` (n,) are 0 or
    more."""
    left, top, right, bottom = box
    columns = right - left + 1
    shares = values[np.arange(columns) * len(values) // columns] / limit
    for column, (share, colour) in enumerate(
        zip(np.clip(shares, 0, 1).tolist(), heat_colours(shares).tolist(), strict=True)
    ):
        if share > 0:
            colour = tuple(max(channel, dim) for channel, dim in zip(colour, (40, 24, 80), strict=True))
            pen.line((left + column, bottom, left + column, round(bottom - share * (bottom - top))), colour)
