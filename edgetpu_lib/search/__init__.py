"""Search for networks that are accurate and fast on the Edge TPU."""
