"""Parts and other grids of volumes lie where they lay in the source, as SimpleITK reads both."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import SimpleITK

from inrfit.errors import UnreadableFile, UnsupportedInput
from inrfit.io.limits import Limits
from inrfit.modalities import MODALITIES, Request
from inrfit.modalities.volume import meta, metaimage, volume, vtk_xml
from inrfit.modalities.volume.domain import window
from inrfit.modalities.volume.raw_volume import Geometry, RawVolume

SAMPLES = np.arange(8 * 9 * 10, dtype="<i2").reshape(8, 9, 10)


def mha(*lines):
    head = ("ObjectType = Image", "NDims = 3", "DimSize = 10 9 8", "ElementType = MET_SHORT", *lines)
    return ("\n".join((*head, "ElementDataFile = LOCAL")) + "\n").encode() + SAMPLES.tobytes()


def nrrd(*lines):
    head = ("NRRD0004", "type: short", "dimension: 3", "sizes: 10 9 8", *lines, "endian: little", "encoding: raw")
    return ("\n".join(head) + "\n\n").encode() + SAMPLES.tobytes()


SPACING, TURNED = "ElementSpacing = 1 2 3", "TransformMatrix = 0 1 0 -1 0 0 0 0 1"
DIRECTIONS = "space directions: (0,1,0) (-2,0,0) (0,0,3)"
FILES = {
    "spacing.mha": mha(SPACING),
    "placed.mha": mha(SPACING, "Position = 5 6 7"),
    "turned.mha": mha(SPACING, TURNED),
    "turned-placed.mha": mha(SPACING, TURNED, "Offset = 5 6 7"),
    "spacing.nrrd": nrrd("spacings: 1 2 3"),
    "cells.nrrd": nrrd("spacings: 1 2 3", "axis mins: 5 6 7"),
    "nodes.nrrd": nrrd("spacings: 1 2 3", "axismins: 5 6 7", "centers: node node node"),
    "turned.nrrd": nrrd("space: left-posterior-superior", DIRECTIONS),
    "turned-placed.nrrd": nrrd("space: left-posterior-superior", DIRECTIONS, "space origin: (5,6,7)"),
}


def places(path, data, indices):
    """The positions of ``indices`` (x, y, z) by SimpleITK."""
    path.write_bytes(data)
    image = SimpleITK.ReadImage(str(path))
    return np.array([image.TransformContinuousIndexToPhysicalPoint(index) for index in indices])


def loaded(name):
    return volume.load(FILES[name], name, meta.Options(), Limits())


def written(described, attachments, name):
    shape, suffix = described["shape"], MODALITIES["volume"].suffix(described)[0]
    return volume.write(np.zeros((*shape, 1), np.int16), described, suffix, Request(), attachments)


@pytest.mark.parametrize("name", FILES)
def test_a_part_lies_where_it_lay(name, tmp_path):
    signal = loaded(name)
    part, attachments = window(signal.meta, signal.attachments, [(3, 5), (0, 9), (2, 7)])
    found = places(tmp_path / f"part-{name}", written(part, attachments, name), [(0.0, 0.0, 0.0), (4.0, 8.0, 1.0)])
    assert np.allclose(found, places(tmp_path / name, FILES[name], [(2.0, 0.0, 3.0), (6.0, 8.0, 4.0)]))


def test_a_part_of_a_damaged_header_without_spacing_is_no_fault():
    signal = volume.load(nrrd("spacings: 0 2 3"), "a.nrrd", meta.Options(), Limits())
    part, attachments = window(signal.meta, signal.attachments, [(3, 5), (0, 9), (2, 7)])
    assert b"sizes: 5 9 2" in written(part, attachments, "a.nrrd")


@pytest.mark.parametrize("name", FILES)
def test_the_whole_keeps_its_header(name):
    signal = loaded(name)
    head = FILES[name].partition(b"LOCAL" if name.endswith("mha") else b"\n\n")[0]
    assert written(signal.meta, signal.attachments, name).startswith(head)


@pytest.mark.parametrize("name", ["cells.nrrd", "nodes.nrrd"])
def test_least_positions_are_those_of_the_first_samples(name, tmp_path):
    origin = places(tmp_path / name, FILES[name], [(0.0, 0.0, 0.0)])[0]
    assert tuple(loaded(name).meta["origin"]) == tuple(reversed(origin))


def test_a_nifti_without_a_place_is_given_none(tmp_path):
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, 10, 9, 8, 1, 1, 1, 1)
    struct.pack_into("<2h", head, 70, 4, 16)
    struct.pack_into("<8f", head, 76, 1, 1, 2, 3, 1, 1, 1, 1)
    struct.pack_into("<f", head, 108, 352)
    head[344:348] = b"n+1\0"
    signal = volume.load(bytes(head) + SAMPLES.tobytes(), "a.nii", meta.Options(), Limits())
    part, attachments = window(signal.meta, signal.attachments, [(3, 5), (0, 9), (2, 7)])
    assert struct.unpack_from("<2h", written(part, attachments, "a.nii"), 252) == (0, 0)


def test_components_of_vtk_that_are_no_number_are_refused():
    raw = RawVolume(SAMPLES[..., None], "int16", "little", Geometry("zyx", (3.0, 2.0, 1.0)))
    data = vtk_xml.write(raw.samples, raw, ".vti")
    broken = data.replace(b"<DataArray ", b'<DataArray NumberOfComponents="E" ')
    with pytest.raises(UnreadableFile, match="NumberOfComponents"):
        volume.load(broken, "a.vti", meta.Options(), Limits())


@pytest.mark.parametrize("named", ["LIST", "slice%03d.raw 1 8 1"])
def test_a_metaimage_of_several_files_is_refused(named):
    data = mha().replace(b"LOCAL", named.encode())
    with pytest.raises(UnsupportedInput, match="several files"):
        metaimage.read(data, Limits())
