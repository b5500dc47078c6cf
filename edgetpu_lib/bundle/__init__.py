"""One file that classifies images on a board, and the folder that Frigate reads."""
