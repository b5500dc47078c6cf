"""The checks of the exercise and the feedback they give."""
