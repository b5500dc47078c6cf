"""The grading of submitted notebooks."""
