"""YUV4MPEG2: frames of planar luma and chroma after a line of text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np

from ...errors import UnreadableFile, UnsupportedInput
from ...io.checked_file import Output
from ...io.limits import Limits
from .clip import UNSPECIFIED, Array, Clip, Colours, collected, usable_rate
from .colour import SUBSAMPLED, from_rgb, to_rgb
from .selection import Selection

SIGNATURE = b"YUV4MPEG2 "
MAX_HEADER = 4096
_SPACE = re.compile(r"(420|422|444|411|410|mono)(jpeg|mpeg2|paldv|alpha)?(?:p?(9|10|12|14|16))?")


def _fields(header: bytes) -> dict[str, str]:
    """The parameters of the first line by their letters; of X the parts after it, by their names."""
    fields = {}
    for word in header.decode("latin-1").split(" ")[1:]:
        key, value = (word[:1], word[1:]) if not word.startswith("X") else word[1:].partition("=")[::2]
        if key:
            fields[key] = value
    return fields


def _ratio(text: str | None) -> Fraction | None:
    """A ratio such as 30000:1001; None for an unknown one, which is written 0:0."""
    match = re.fullmatch(r"(\d{1,9}):(\d{1,9})", text or "")
    return Fraction(int(match[1]), int(match[2])) if match and int(match[1]) and int(match[2]) else None


def _format(fields: dict[str, str]) -> tuple[int, int, int, Colours, bool]:
    """Width, height, bits, colours, and whether chroma is centred. Raises a ``RefusedInput``."""
    try:
        width, height = int(fields["W"]), int(fields["H"])
    except (KeyError, ValueError):
        raise UnreadableFile("damaged: the Y4M header has no width and height", "header") from None
    space = _SPACE.fullmatch(fields.get("C", "420jpeg"))
    if space is None or space[2] == "alpha":
        raise UnsupportedInput(f"Y4M of the colour space {fields.get('C')} is not supported", "colour")
    if not (0 < width < 1 << 16 and 0 < height < 1 << 16):
        raise UnreadableFile(f"damaged: Y4M frames of {width}x{height}", "header")
    if fields.get("I", "?") not in ("p", "?"):
        raise UnsupportedInput("interlaced Y4M is not supported: deinterlace it first", "interlaced")
    full = {"FULL": True, "LIMITED": False}.get(fields.get("COLORRANGE", ""))
    chroma = "grey" if space[1] == "mono" else space[1]
    return width, height, int(space[3] or 8), Colours(full_range=full, chroma=chroma), space[2] == "jpeg"


def _plane_sides(width: int, height: int, chroma: str) -> list[tuple[int, int]]:
    """Rows and columns of each plane."""
    if chroma == "grey":
        return [(height, width)]
    rows, columns = SUBSAMPLED[chroma]
    return [(height, width), *[(-(-height // rows), -(-width // columns))] * 2]


def read(data: bytes, limits: Limits, selection: Selection) -> Clip:
    """Reads the selected frames. Raises a ``RefusedInput``."""
    line = data[:MAX_HEADER].partition(b"\n")[0]
    if len(line) == MAX_HEADER:
        raise UnreadableFile("damaged: the Y4M header does not end", "header")
    fields = _fields(line)
    width, height, bits, colours, centred = _format(fields)
    sides = _plane_sides(width, height, colours.chroma)
    dtype = np.dtype("<u2" if bits > 8 else "u1")
    frame_bytes = sum(rows * columns for rows, columns in sides) * dtype.itemsize
    count = (len(data) - len(line)) // (frame_bytes + 6)
    limits.check("max_voxels", selection.count(count) * width * height, "clip of pixels")

    def frames() -> Iterator[Array]:
        position, number = len(line) + 1, 0
        while position < len(data) and not selection.is_over(number):
            end = data.find(b"\n", position, position + MAX_HEADER)
            if data[position : position + 5] != b"FRAME" or end < 0 or end + 1 + frame_bytes > len(data):
                raise UnreadableFile(f"the file ends early or is damaged at frame {number + 1}", "truncated")
            if selection.has(number):
                planes, start = [], end + 1
                for rows, columns in sides:
                    size = rows * columns
                    planes.append(np.frombuffer(data, dtype, size, start).reshape(rows, columns))
                    start += size * dtype.itemsize
                yield selection.shaped(to_rgb(planes, bits, colours, centred), bits)
            position, number = end + 1 + frame_bytes, number + 1

    rate = usable_rate(_ratio(fields.get("F")))
    notes = [] if rate else ["the file does not say its frame rate: 25 frames per second"]
    return Clip(
        collected(frames(), selection.count(count), limits), bits, rate or Fraction(25), colours,
        aspect=_ratio(fields.get("A")), header=line, notes=tuple(notes), centred=centred,
    )  # fmt: skip


def write(clip: Clip, out: Output) -> None:
    """Writes a file with the header of the source, if that was a Y4M file."""
    frames, colours = clip.frames, clip.colours
    height, width = frames.shape[1:3]
    known = ("420", "422", "411", "410") if clip.header else ("420", "422") if clip.bits > 8 else ("420", "422", "411")
    chroma = "grey" if frames.shape[-1] == 1 else colours.chroma if colours.chroma in known else "444"
    colours = replace(colours, matrix=UNSPECIFIED, chroma=chroma)  # a matrix has no name in Y4M
    header = _patched(clip, width, height) if clip.header else _new_header(clip, colours, width, height)
    out.write(header + b"\n")
    for frame in frames:
        planes = from_rgb(frame, clip.bits, colours, clip.centred)
        samples = [plane.astype(plane.dtype.newbyteorder("<")).tobytes() for plane in planes]
        out.write(b"".join([b"FRAME\n", *samples]))


def _patched(clip: Clip, width: int, height: int) -> bytes:
    """The header of the source with the sizes of the decoded frames."""
    words = clip.header.decode("latin-1").split(" ")
    sizes = {"W": f"W{width}", "H": f"H{height}"}
    if usable_rate(_ratio(_fields(clip.header).get("F"))) != clip.rate:
        sizes["F"] = f"F{clip.rate.numerator}:{clip.rate.denominator}"
    return " ".join(sizes.get(word[:1], word) for word in words).encode("latin-1")


def _new_header(clip: Clip, colours: Colours, width: int, height: int) -> bytes:
    """A header for a clip of another format."""
    aspect = clip.aspect or Fraction(0)
    space = "mono" if colours.chroma == "grey" else colours.chroma
    if clip.bits > 8:
        space += f"p{clip.bits}" if space != "mono" else str(clip.bits)
    elif space == "420":
        space = "420mpeg2"
    words = [
        f"YUV4MPEG2 W{width} H{height} F{clip.rate.numerator}:{clip.rate.denominator} Ip",
        f"A{aspect.numerator}:{aspect.denominator if aspect else 0} C{space}",
    ]
    if colours.full_range is not None:
        words.append(f"XCOLORRANGE={'FULL' if colours.full_range else 'LIMITED'}")
    return " ".join(words).encode()
