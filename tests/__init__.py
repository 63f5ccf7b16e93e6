"""The tests. A package, as some dependency installs another one of this name."""
