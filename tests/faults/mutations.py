"""Damage to files: of their bytes, and of their structure with lengths and checksums made right again."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

NUMBERS = (0, 1, 2, 3, 7, 8, 16, 127, 128, 255, 256, 32_767, 32_768, 65_535, 65_536, 10**6, 2**24, 2**31 - 1, 2**31)
NUMBERS += (2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
WORDS = (b"0", b"-1", b"1e999", b"nan", b"-inf", b"1e38", b"1e-320", b"99999999999", b"4294967296", b"", b"x", b"1/2/3")
WORDS += (b"-2147483649", b"0x10", b"1_000", b"\xff", b"\x1b[31m", b"\0", b"9" * 400, "٣".encode(), b"1" * 5000)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 255, 65_535, 2**31, 2**53, 2**63, 10**30, 0.0, -0.0, 0.5, 1e-320, 1e38, -1e300,
    "", "x", "\x1b[31m", "../x", "9" * 40, "x" * 5000, [], [0], [[]], {}, {"": 0}, [1e300] * 3, "fp32", "image",
)  # fmt: skip
"""Numbers, words and JSON values at which readers stumble."""

Chunk = tuple[bytes, bytes]
"""The kind and the content of a part of a file."""

Split, Join = Callable[[bytes], list[Chunk]], Callable[[list[Chunk]], bytes]


def bytes_mutated(data: bytes, chance: random.Random, other: bytes = b"") -> bytes:
    """One to four changes of bytes. ``other`` is a file that parts are taken from."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        data = chance.choice(_BYTE_CHANGES)(data, chance, other) or data
    return data


def _flipped(data: bytes, chance: random.Random, other: bytes) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _truncated(data: bytes, chance: random.Random, other: bytes) -> bytes:
    return data[: chance.randrange(len(data))]


def _number_written(data: bytes, chance: random.Random, other: bytes) -> bytes:
    """A number of 1, 2, 4 or 8 bytes, rather near the beginning, where headers are."""
    size, order = chance.choice((1, 2, 4, 8)), chance.choice(("little", "big"))
    at = chance.randrange(min(len(data), chance.choice((64, 256, 10**9))))
    number = chance.choice(NUMBERS) % (1 << 8 * size)
    return data[:at] + number.to_bytes(size, order) + data[at + size :]  # type: ignore[arg-type]


def _spliced(data: bytes, chance: random.Random, other: bytes) -> bytes:
    """A range that is replaced by a range of another file, left out, or there twice."""
    (a, b), source = sorted(chance.choices(range(len(data) + 1), k=2)), other or data
    c, d = sorted(chance.choices(range(len(source) + 1), k=2))
    return data[:a] + chance.choice((source[c:d], b"", data[a:b] * 2, bytes(b - a))) + data[b:]


def _extended(data: bytes, chance: random.Random, other: bytes) -> bytes:
    return data + chance.choice((b"\0", bytes(100), data, other[:100], b"\xff" * 4))


_BYTE_CHANGES = (_flipped, _flipped, _truncated, _number_written, _number_written, _spliced, _extended)


def chunks_mutated(data: bytes, chance: random.Random, split: Split, join: Join) -> bytes:
    """The file with one of its parts left out, doubled, moved, renamed, emptied or damaged inside."""
    chunks = split(data)
    at, target = chance.randrange(len(chunks)), chance.randrange(len(chunks))
    kind, content = chunks[at]
    change = chance.randrange(8)
    if change == 0:
        del chunks[at]
    elif change == 1:
        chunks.insert(target, chunks[at])
    elif change == 2:
        chunks.insert(target, chunks.pop(at))
    elif change == 3:
        chunks[at] = (chunks[target][0], content)
    elif change == 4:
        chunks[at] = (kind, b"")
    else:
        chunks[at] = (kind, bytes_mutated(content, chance) if content else b"\0")
    return join(chunks)


def _split_png(data: bytes) -> list[Chunk]:
    at, chunks = 8, []
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def _join_png(chunks: list[Chunk]) -> bytes:
    """With lengths and checksums made right."""
    parts = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _iff(order: str, padded: int = 2) -> tuple[Split, Join]:
    """Chunks of RIFF (order "<") or IFF (">") inside of the outer one, whose length is made right."""

    def split(data: bytes) -> list[Chunk]:
        at, chunks = 12, [(data[:4], data[8:12])]
        while at + 8 <= len(data):
            (length,) = struct.unpack_from(f"{order}I", data, at + 4)
            chunks.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
            at += 8 + length + length % padded
        return chunks

    def join(chunks: list[Chunk]) -> bytes:
        (name, form), *inner = chunks or [(b"RIFF", b"WAVE")]
        body = b"".join(
            kind + struct.pack(f"{order}I", len(content)) + content + bytes(len(content) % padded)
            for kind, content in inner
        )
        return name + struct.pack(f"{order}I", len(form + body)) + form + body

    return split, join


def _split_caf(data: bytes) -> list[Chunk]:
    at, chunks = 8, []
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">q", data, at + 4)
        end = len(data) if length < 0 else at + 12 + length
        chunks.append((data[at : at + 4], data[at + 12 : end]))
        at = end
    return chunks


def _join_caf(chunks: list[Chunk]) -> bytes:
    return b"caff\0\1\0\0" + b"".join(kind + struct.pack(">q", len(content)) + content for kind, content in chunks)


def _split_flac(data: bytes) -> list[Chunk]:
    at, chunks, last = 4, [], False
    while not last and at + 4 <= len(data):
        last, length = bool(data[at] & 128), int.from_bytes(data[at + 1 : at + 4], "big")
        chunks.append((bytes([data[at] & 127]), data[at + 4 : at + 4 + length]))
        at += 4 + length
    return [*chunks, (b"frames", data[at:])]


def _join_flac(chunks: list[Chunk]) -> bytes:
    blocks = [chunk for chunk in chunks if chunk[0] != b"frames"]
    made = b"fLaC"
    for number, (kind, content) in enumerate(blocks):
        made += bytes([kind[0] | 128 * (number == len(blocks) - 1)]) + len(content[: 2**24 - 1]).to_bytes(3, "big")
        made += content[: 2**24 - 1]
    return made + b"".join(content for kind, content in chunks if kind == b"frames")


def _split_jpeg(data: bytes) -> list[Chunk]:
    at, chunks = 2, []
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, at + 2)
        chunks.append((data[at : at + 2], data[at + 4 : at + 2 + length]))
        at += 2 + length
    return [*chunks, (b"", data[at:])]


def _join_jpeg(chunks: list[Chunk]) -> bytes:
    return b"\xff\xd8" + b"".join(
        kind + struct.pack(">H", (len(content) + 2) % 65_536) + content if kind else content for kind, content in chunks
    )


def _split_boxes(data: bytes) -> list[Chunk]:
    at, chunks = 0, []
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + length if length >= 8 else len(data)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : end]))
        at = end
    return chunks


def _join_boxes(chunks: list[Chunk]) -> bytes:
    return b"".join(struct.pack(">I", 8 + len(content)) + kind + content for kind, content in chunks)


_SPLITS: dict[bytes, tuple[Split, Join]] = {
    b"\x89PNG": (_split_png, _join_png),
    b"RIFF": _iff("<"),
    b"FORM": _iff(">"),
    b"caff": (_split_caf, _join_caf),
    b"fLaC": (_split_flac, _join_flac),
    b"\xff\xd8\xff\xe0": (_split_jpeg, _join_jpeg),
    b"ftyp": (_split_boxes, _join_boxes),
    b"jP  ": (_split_boxes, _join_boxes),
}
"""Formats that are made of chunks, by the first four bytes, or those after them."""


def structure_mutated(data: bytes, chance: random.Random, other: bytes = b"") -> bytes:
    """One change that knows the format; a change of bytes where none is known."""
    parts = _SPLITS.get(data[:4]) or _SPLITS.get(data[4:8])
    if parts is not None:
        return chunks_mutated(data, chance, *parts)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _tags_mutated(data, chance)
    if data[:4] == b"glTF":
        return _glb_mutated(data, chance)
    if data[:4] == b"PK\3\4":
        return _package_mutated(data, chance)
    if data[:1] == b"{":
        return json.dumps(json_mutated(json.loads(data), chance)).encode()
    if b"\0" not in data[:16] and b"\n" in data[:400]:
        return _lines_mutated(data, chance)
    return bytes_mutated(data, chance, other)


def _tags_mutated(data: bytes, chance: random.Random) -> bytes:
    """A TIFF of which one field of the first directory is another one."""
    order = "<" if data[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    made = bytearray(data)
    entry = directory + 2 + 12 * chance.randrange(count)
    field, size = chance.choice(((0, "H"), (2, "H"), (4, "I"), (8, "I"), (8, "H")))
    number = chance.choice((*NUMBERS, *range(20), *range(254, 340)))
    struct.pack_into(order + size, made, entry + field, number % (65_536 if size == "H" else 2**32))
    return bytes(made)


def _glb_mutated(data: bytes, chance: random.Random) -> bytes:
    """A GLB of which the JSON or the buffer is changed, and the lengths are right."""
    (length,) = struct.unpack_from("<I", data, 12)
    tree, rest = json.loads(data[20 : 20 + length]), data[20 + length :]
    if chance.random() < 0.8:
        tree = json_mutated(tree, chance)
    else:
        content = bytes_mutated(rest[8:], chance)
        rest = struct.pack("<I", len(content)) + rest[4:8] + content
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    return b"glTF" + struct.pack("<III", 2, 20 + len(text) + len(rest), len(text)) + b"JSON" + text + rest


def _package_mutated(data: bytes, chance: random.Random) -> bytes:
    """A ZIP file of which one member is changed."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        chosen = chance.choice(old.namelist())
        for name in old.namelist():
            content = old.read(name)
            if name == chosen and content[:1] == b"{":
                content = json.dumps(json_mutated(json.loads(content), chance)).encode()
            elif name == chosen:
                content = _lines_mutated(content.replace(b"<", b"\n<"), chance)
            new.writestr(name, content)
    return made.getvalue()


def _lines_mutated(data: bytes, chance: random.Random) -> bytes:
    """Text of which a line is left out, doubled or moved, or a word of it is another one."""
    lines = data.split(b"\n")
    at = chance.randrange(len(lines) if chance.random() < 0.6 else min(len(lines), 14))
    change = chance.randrange(6)
    if change == 0:
        del lines[at]
    elif change == 1:
        lines.insert(chance.randrange(len(lines)), lines[at])
    elif change == 2:
        lines[at] += b" " + chance.choice(WORDS)
    else:
        words = lines[at].split(b" ")
        words[chance.randrange(len(words))] = chance.choice(WORDS)
        lines[at] = b" ".join(words)
    return b"\n".join(lines)


def paths(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a JSON value, itself excluded."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [found for key, value in items for found in ((*path, key), *paths(value, (*path, key)))]


def json_mutated(tree: Any, chance: random.Random) -> Any:
    """A copy of a JSON value in which one value is another one, or left out, or there is one more."""
    tree = json.loads(json.dumps(tree))
    found = paths(tree)
    *outer, last = chance.choice(found)
    holder = tree
    for key in outer:
        holder = holder[key]
    change = chance.randrange(10)
    if change == 0:
        del holder[last]
    elif change == 1 and isinstance(holder, dict):
        holder[f"{last}x"] = holder[last]
    elif change == 2 and type(holder[last]) in (int, float):
        holder[last] = chance.choice((holder[last] + 1, holder[last] * 1000, -holder[last], str(holder[last])))
    else:
        holder[last] = chance.choice(VALUES)
    return tree
