"""Live models: the version that a reference names, loaded and kept up to date."""
