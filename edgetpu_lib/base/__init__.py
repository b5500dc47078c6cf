"""What every part of the library stands on: files, errors, threads, quiet start-up."""
