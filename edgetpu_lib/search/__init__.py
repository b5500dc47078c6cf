"""The search for networks that are accurate and fast."""
