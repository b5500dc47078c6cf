"""Pages for a browser: they need no server of their own and ask no other host."""
