"""Which side of each triangle is outside.

Neighbours are made to agree. Each connected piece keeps the winding of most of its area, so that a few flipped
triangles change nothing. Closed pieces that lie in no other one face outward; those inside another one keep their
winding, which says whether they are cavities.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...errors import RefusedInput
from .mesh import INSIDE_WINDING, Array, Mesh, mesh_queries

MAX_PIECES = 256
"""Largest number of closed pieces whose nesting is examined."""

_CERTAINLY_INSIDE = 0.55
"""Winding number that shows that a mesh has an inside. It is above 0.5, which a flat sheet reaches, by more than the
error of the approximate winding number (0.003)."""

Faces = npt.NDArray[np.int64]


def orient(mesh: Mesh) -> tuple[Mesh, int, list[str]]:
    """The mesh with triangles that face outward, the number of open edges, and notes on what was changed. Raises
    ``RefusedInput`` for a surface without an inside."""
    faces, notes, open_edges = _agreeing(mesh)
    mesh = replace(mesh, faces=faces)
    pieces = find_pieces(mesh)
    closed = [piece for piece in pieces if piece.closed]
    if closed and len(closed) <= MAX_PIECES:
        mesh, turned = _turned_out(mesh, closed)
        if turned:
            whole = turned == len(pieces)
            notes.append(
                "triangles wound inside out: flipped" if whole else f"{turned} parts wound inside out: turned round"
            )
    mesh, flipped, mixed = _face_outward(mesh, open_edges)
    if flipped:
        notes.append("triangles wound inside out: flipped")
    if mixed and not (closed and len(closed) <= MAX_PIECES):
        notes.append("some parts are wound inside out: they do not count as inside")
    return mesh, open_edges, notes


def _edges(faces: Faces) -> tuple[Faces, npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """For the three edges of each face (3 f,): the number of the edge, and whether it runs upwards; for each edge (e,)
    its uses."""
    count = int(faces.max()) + 1
    starts, ends = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)
    keys = np.minimum(starts, ends) * count + np.maximum(starts, ends)
    unique, edge, uses = np.unique(keys, return_inverse=True, return_counts=True)
    return unique, edge, uses, starts < ends


def _agreeing(mesh: Mesh) -> tuple[Faces, list[str], int]:
    """Faces whose neighbours agree in winding, notes, and the number of open edges. Each connected piece has the
    winding that most of its area had."""
    faces = mesh.faces
    unique, edge, uses, upwards = _edges(faces)
    open_edges = int((uses == 1).sum())
    # Two neighbours with the same winding traverse their common edge in opposite directions.
    direction_sum = np.bincount(edge, np.where(upwards, 1.0, -1.0), minlength=len(unique))
    if not ((uses == 2) & (direction_sum != 0)).any():
        return faces, [], open_edges
    import igl

    oriented, piece = igl.bfs_orient(faces)
    oriented, piece = np.ascontiguousarray(oriented, np.int64), np.asarray(piece, np.int64).reshape(-1)
    same = _same_winding(oriented, faces)
    corners = mesh.corners
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    vote = np.bincount(piece, np.where(same, areas, -areas))
    against = vote[piece] < 0
    oriented[against] = oriented[against][:, ::-1]
    changed = int((~_same_winding(oriented, faces)).sum())
    plural = "s" * (changed != 1)
    notes = [f"{changed:,} triangle{plural} wound against the neighbours: flipped"] if changed else []
    return oriented, notes, open_edges


def _same_winding(a: Faces, b: Faces) -> npt.NDArray[np.bool_]:
    """Whether the faces of ``a`` have the same winding as those of ``b``, which have the same corners."""
    place = (a == b[:, :1]).argmax(axis=1)
    following = np.take_along_axis(a, ((place + 1) % 3)[:, None], axis=1)[:, 0]
    return np.asarray(following == b[:, 1], np.bool_)


@dataclass(frozen=True, eq=False)
class Piece:
    """A connected piece of a mesh: the numbers of its faces, its box (2, 3), its signed volume, and whether it is
    closed."""

    faces: npt.NDArray[np.int64]
    box: Array
    volume: float
    closed: bool


def find_pieces(mesh: Mesh) -> list[Piece]:
    """The pieces of a mesh that share vertices."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    faces, count = mesh.faces, len(mesh.vertices)
    pairs = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    label = connected_components(graph, directed=False)[1][faces[:, 0]]
    _, edge, uses, _ = _edges(faces)
    odd = ((uses[edge] % 2) == 1).reshape(-1, 3).any(axis=1)
    order = np.argsort(label, kind="stable")
    starts = np.flatnonzero(np.diff(label[order], prepend=-1))
    return [_piece(mesh, members, not odd[members].any()) for members in np.split(order, starts[1:])]


def _piece(mesh: Mesh, members: npt.NDArray[np.int64], closed: bool) -> Piece:
    """A piece of these faces."""
    corners = mesh.vertices[mesh.faces[members]]
    flat = corners.reshape(-1, 3)
    box = np.stack([flat.min(0), flat.max(0)])
    a, b, c = (corners[:, k] - box.mean(0) for k in range(3))
    return Piece(members, box, float((a * np.cross(b, c)).sum() / 6), closed)


def _turned_out(mesh: Mesh, pieces: list[Piece]) -> tuple[Mesh, int]:
    """The mesh with closed pieces that lie in no other one facing outward, and the number of pieces that were turned
    round. If pieces inside such a one are wound outward, the whole nest was inside out, and they are turned as well."""
    parents = _enclosing(mesh, pieces)
    turned: set[int] = set()
    for root, piece in enumerate(pieces):
        if parents[root] or piece.volume >= 0:
            continue
        nest = [index for index, around in enumerate(parents) if root in around]
        turned.add(root)
        if any(pieces[index].volume > 0 and len(parents[index]) == 1 for index in nest):
            turned.update(nest)
    if not turned:
        return mesh, 0
    faces = mesh.faces.copy()
    for index in turned:
        members = pieces[index].faces
        faces[members] = faces[members][:, ::-1]
    return replace(mesh, faces=faces), len(turned)


def _enclosing(mesh: Mesh, pieces: list[Piece]) -> list[list[int]]:
    """For each piece the numbers of those that enclose it."""
    import igl

    points = np.array([mesh.vertices[mesh.faces[piece.faces[0], 0]] for piece in pieces])
    low, high = (np.array([piece.box[side] for piece in pieces]) for side in (0, 1))
    around: list[list[int]] = [[] for _ in pieces]
    for outer, piece in enumerate(pieces):
        within = (low >= piece.box[0]).all(axis=1) & (high <= piece.box[1]).all(axis=1)
        within[outer] = False
        if not within.any():
            continue
        used, corners = np.unique(mesh.faces[piece.faces], return_inverse=True)
        multipoles = igl.FastWindingNumberBVH()
        multipoles.init(mesh.vertices[used], corners.reshape(-1, 3).astype(np.int64))
        winding = np.asarray(multipoles.winding_number(points[within])).reshape(-1)
        for inner in np.flatnonzero(within)[np.abs(winding) > INSIDE_WINDING]:
            around[inner].append(outer)
    return around


def _face_outward(mesh: Mesh, open_edges: int) -> tuple[Mesh, bool, bool]:
    """The mesh with positive winding numbers inside, whether it was flipped, and whether some parts face the other way.

    Winding numbers are computed on a 32^3 grid and close to both sides of up to about 4,096 triangles, so that thin
    plates are found. Raises ``RefusedInput`` if none of these points is inside, as for one triangle or a flat sheet."""
    axis = (2 * np.arange(32) + 1) / 32 - 1
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    corners = mesh.corners[:: max(1, len(mesh.faces) // 4096)]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    middle, step = corners.mean(1), 1e-4 * normal / np.where(length > 0, length, 1)
    winding = mesh_queries(mesh).winding(np.concatenate([grid, middle - step, middle + step]))
    positive, negative = int((winding > _CERTAINLY_INSIDE).sum()), int((winding < -_CERTAINLY_INSIDE).sum())
    if not positive and not negative:
        open_text = f" ({open_edges:,} open edges)" if open_edges else ""
        raise RefusedInput(f"the surface has no inside{open_text}: a shape must enclose a volume", "no-inside")
    if negative <= positive:
        return mesh, False, negative > 0
    return replace(mesh, faces=np.ascontiguousarray(mesh.faces[:, ::-1])), True, positive > 0
