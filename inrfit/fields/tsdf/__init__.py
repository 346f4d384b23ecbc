"""Shapes as signed distances at the nodes of a grid."""
