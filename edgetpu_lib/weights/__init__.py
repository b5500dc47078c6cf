"""Published weights: downloaded, read from other formats, written back."""
