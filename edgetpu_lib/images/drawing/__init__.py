"""Meshes of petals, five species of flower, and backdrops for `rendered`."""
