"""Sounds: audio.py; containers.py, what the file says; sample_formats.py, how samples are stored."""
