"""What keeps an array from being what its weights want; see README.md."""
