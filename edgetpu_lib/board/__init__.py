"""What a computer or board needs to run compiled files: runtime, library, device."""
