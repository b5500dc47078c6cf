"""Grade submitted notebooks with the checks of an exercise."""
