"""What a training consists of: recipe, augmentation, batches, state."""
