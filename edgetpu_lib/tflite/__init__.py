"""TFLite files: read safely, edited, run."""
