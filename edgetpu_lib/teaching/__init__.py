"""What the course needs: the exercise, its grading, worked examples."""
