"""The code of signed distances at the nodes of a cube."""
