"""Training: recipe, augmentation, batches, the loop, and the state to resume from."""
