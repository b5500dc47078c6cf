"""Shared helpers: files, errors, threads, and starting TensorFlow."""
