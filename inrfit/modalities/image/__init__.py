"""Pictures: image.py; reading them: formats.py, pillow_reader.py, png_check.py."""
