"""What an export needs to know of a model: its preprocessing, and its agreement."""
