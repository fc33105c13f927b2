"""Artifacts: chunks, manifests and the collection of what no version needs."""
