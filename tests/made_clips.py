"""Small clips of many kinds, made with PyAV and Pillow."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import av
import numpy as np
from PIL import Image

RATE = Fraction(30_000, 1001)


def moving(frames=6, height=32, width=48):
    """A smooth pattern that moves: (n, h, w, 3), from 0 to 1."""
    t, y, x = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing="ij")
    red = 0.5 + 0.4 * np.sin((x + 2 * t) / 9)
    green = 0.5 + 0.4 * np.cos((y - t) / 7)
    return np.stack([red, green, 0.3 + 0.2 * np.sin((x + y + t) / 12)], -1)


def video(
    suffix="mp4", codec="libx264", pixels="yuv420p", frames=6, times=None, colours=(2, 2, 2), full=0, aspect=None,
    sound=False, height=32, width=48,
):  # fmt: skip
    """The bytes of a file; ``times`` are time stamps in thousandths of a second; ``colours`` are codes of H.273."""
    out = io.BytesIO()
    with av.open(out, "w", format=suffix) as container:
        stream = container.add_stream(codec, rate=RATE, options={"crf": "4"} if codec != "ffv1" else {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = colours
        context.color_range = full
        base = 1 / RATE if times is None else Fraction(1, 1000)
        context.time_base = base
        if aspect:
            context.sample_aspect_ratio = aspect
        if sound:
            track = container.add_stream("aac", rate=8000, layout="mono")
            silence = av.AudioFrame(format="fltp", layout="mono", samples=1024)
            silence.sample_rate, silence.pts = 8000, 0
            for plane in silence.planes:
                plane.update(bytes(plane.buffer_size))
        for number, picture in enumerate(moving(frames, height, width)):
            deep = (picture * 65_535).astype(np.uint16)
            frame = av.VideoFrame.from_ndarray(deep, format="rgb48le").reformat(
                format=pixels, dst_color_range=full or 1
            )
            frame.pts, frame.time_base = number if times is None else times[number], base
            container.mux(stream.encode(frame))
        if sound:
            container.mux(track.encode(silence))
            container.mux(track.encode())
        container.mux(stream.encode())
    return out.getvalue()


def turned(data, matrix=(0, 1, 0, -1, 0, 0)):
    """An MP4 file whose frames are to be shown turned by 90 degrees."""
    at = data.index(b"tkhd") + 44
    a, b, u, c, d, v = matrix
    fixed = struct.pack(">9i", a << 16, b << 16, u, c * 65_536, d << 16, v, 32 << 16, 0, 1 << 30)
    return data[:at] + fixed + data[at + 36 :]


def y4m(space="420jpeg", bits=8, frames=4, height=18, width=24, words="F30000:1001 Ip A128:117", comment="XEXTRA=kept"):
    """The bytes of a Y4M file of grey levels that grow."""
    rows, columns = {"420": (2, 2), "422": (1, 2), "444": (1, 1), "411": (1, 4), "mon": (0, 0)}[space[:3]]
    dtype = "<u2" if bits > 8 else "u1"
    parts = [f"YUV4MPEG2 W{width} H{height} {words} C{space} {comment}\n".encode()]
    for number in range(frames):
        luma = (np.arange(height * width).reshape(height, width) // 4 + 5 * number + 60) << (bits - 8)
        parts += [b"FRAME\n", luma.astype(dtype).tobytes()]
        if rows:
            chroma = np.full((-(-height // rows), -(-width // columns)), 118 << (bits - 8), dtype)
            parts += [chroma.tobytes(), (chroma + np.array(18 << (bits - 8), dtype)).tobytes()]
    return b"".join(parts)


def animation(kind, durations=100, frames=5, alpha=False):
    """The bytes of an animated GIF, WebP or PNG."""
    pictures = [Image.fromarray((picture * 255).astype(np.uint8)) for picture in moving(frames, 16, 20)]
    if alpha:
        for picture in pictures:
            picture.putalpha(Image.fromarray(np.tile(np.arange(20, dtype=np.uint8) * 12, (16, 1))))
    out = io.BytesIO()
    pictures[0].save(out, kind, save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    return out.getvalue()
