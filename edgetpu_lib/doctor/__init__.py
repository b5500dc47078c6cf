"""Why an int8 model predicts worse than its float model."""
