"""Decoding, cropping and resizing of images, and the rendered flowers."""
