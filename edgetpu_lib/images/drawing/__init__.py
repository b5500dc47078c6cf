"""What `rendered` draws with: petals, five species of flower, backdrops."""
