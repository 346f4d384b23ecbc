"""Descriptions of files that are given as fields by mistake, by their first bytes."""

from __future__ import annotations

from ..io.signatures import Signatures, detect_format

_SIGNATURES: Signatures = {
    "a Git LFS pointer: fetch the file itself with git lfs pull": rb"version https://git-lfs",
    "a ZIP archive, as torch.save writes": rb"PK\x03\x04",
    "a NumPy array": rb"\x93NUMPY",
    "a PNG image": rb"\x89PNG\r\n\x1a\n",
    "a JPEG image": rb"\xff\xd8\xff",
    "a GIF image": rb"GIF8",
    "a TIFF image": rb"II\*\0|MM\0\*",
    "a RIFF file: WAV or WebP": rb"RIFF",
    "a FLAC sound": rb"fLaC",
    "an Ogg sound": rb"OggS",
    "an MP3 sound": rb"ID3",
    "an HDF5 file": rb"\x89HDF",
    "a GGUF model": rb"GGUF",
    "gzip-compressed data": rb"\x1f\x8b",
    "a PDF document": rb"%PDF",
    "a PLY mesh": rb"ply",
    "an STL mesh": rb"solid ",
}

_TEXT_SIGNATURES: Signatures = {
    "an HTML page: a web page was downloaded instead of the file": rb"<!doctype html|<html",
    "XML or HTML": rb"<",
    "JSON": rb"\{|\[",
}


def looks_like(data: bytes) -> str | None:
    """A description of the kind of file that begins like ``data``; None if unknown."""
    if (kind := detect_format(data, _SIGNATURES)) is not None:
        return kind
    start = data[:64].lstrip().lower()
    if b"\0" not in start and (kind := detect_format(start, _TEXT_SIGNATURES)) is not None:
        return kind
    if data[:1] == b"\x80" and data[1:2] in b"\x02\x03\x04\x05":
        return "a pickle file, which is never executed"
    return None
