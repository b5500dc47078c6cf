"""Labelled images from folders, TFRecord shards and TensorFlow Datasets."""
