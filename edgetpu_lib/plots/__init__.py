"""All figures; Matplotlib is imported nowhere else."""
