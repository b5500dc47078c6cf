"""Limits of an export; no imports, so that the command line shows them."""

# Share of calibration images on which the int8 model must predict what the Keras model
# does. The networks of this library reach 0.99, a wrong scale less than 0.5.
MIN_AGREEMENT = 0.9
# Fewer images show no share: one of five is 20 %.
MIN_VERIFIED_IMAGES = 10
# So many are enough to see a model that is wrong.
MAX_VERIFIED_IMAGES = 100
# With fewer calibration images, the range of a tensor is often too narrow.
FEW_IMAGES = 30
# Standard deviation of the pixels, 0..255, below which an image is one flat colour.
FLAT_LEVELS = 3.0
