"""AIFF, AIFC, AU and CAF: their headers are compared with the data."""

from __future__ import annotations

from ...errors import UnreadableFile, printable
from .container import Container, truncated

_AIFF_UNDERSTOOD = (b"COMM", b"SSND", b"FVER", b"PEAK")


def check_aiff(data: bytes) -> Container:
    """Checks AIFF and AIFC: the sound chunk is complete."""
    position, frames, size, lost = 12, None, None, []
    while position + 8 <= len(data):
        tag, claimed = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "big")
        start = position + 8
        if tag == b"COMM" and claimed >= 18:
            frames = int.from_bytes(data[start + 2 : start + 6], "big")
        elif tag == b"SSND":
            size = claimed
            if start + claimed > len(data):
                raise truncated("samples", claimed, len(data) - start)
        elif tag not in _AIFF_UNDERSTOOD:
            lost.append(printable(tag.decode("latin-1")).strip())
        position = start + claimed + (claimed & 1)
    if frames is None or size is None:
        raise UnreadableFile(f"there is no {'COMM' if frames is None else 'SSND'} chunk", "header")
    notes = (f"chunks not kept: {', '.join(lost[:8])}",) if lost else ()
    return Container("AIFF", data, frames, notes=notes)


def check_au(data: bytes) -> Container:
    """Checks AU: the samples are complete, or their size is not recorded."""
    order = "big" if data[:4] == b".snd" else "little"
    if len(data) < 24:
        raise UnreadableFile("the file ends early, within the header", "truncated")
    start, size = (int.from_bytes(data[at : at + 4], order) for at in (4, 8))  # type: ignore[arg-type]
    if start < 24 or start > len(data):
        raise UnreadableFile("damaged: the header says where no samples are", "header")
    if size != 0xFFFF_FFFF and start + size > len(data):
        raise truncated("samples", size, len(data) - start)
    text = data[24:start].strip(b"\0 ")
    return Container("AU", data, notes=("text not kept",) if text else ())


def check_caf(data: bytes) -> Container:
    """Checks CAF: the data chunk is complete."""
    position, lost, found = 8, list[str](), False
    while position + 12 <= len(data):
        tag, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 12], "big")
        if tag == b"data":
            found = True
            if size == 2**64 - 1:
                break
            if position + 12 + size > len(data):
                raise truncated("samples", size, len(data) - position - 12)
        elif tag not in (b"desc", b"free", b"kuki", b"pakt", b"peak", b"chan", b"info"):
            lost.append(printable(tag.decode("latin-1")).strip())
        position += 12 + size
    if not found:
        raise UnreadableFile("there is no data chunk", "header")
    return Container("CAF", data, notes=(f"chunks not kept: {', '.join(lost[:8])}",) if lost else ())
