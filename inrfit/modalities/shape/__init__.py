"""Meshes: shape.py; mesh_formats.py, reading; mesh.py, geometry; point_sampling.py, the points that are taught."""
