"""Classifiers of any kind, and the metrics of their predictions."""
