"""Pixels of single images: cropping, resizing, and the drawn flowers."""
