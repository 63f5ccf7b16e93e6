"""Effects that make conductances deviate from their targets; see README.md."""
