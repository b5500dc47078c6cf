"""The checks of the exercise, as a student's notebook calls them.

A check takes what the student made and gives feedback with points; it never raises and
never tells the solution. `grading` runs the same checks on submitted notebooks.
"""

# ruff: noqa: F401

from edgetpu_lib.teaching.exercise.feedback import TASKS, Feedback, Total, total
from edgetpu_lib.teaching.exercise.image_checks import (
    check_calibration,
    check_classes,
    check_labels,
    check_split,
    choose_classes,
)
from edgetpu_lib.teaching.exercise.model_checks import (
    Budget,
    check_budget,
    check_file,
    check_preprocessing,
    check_training,
)
