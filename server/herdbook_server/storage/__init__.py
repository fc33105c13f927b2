"""The adapters that keep what the ports promise."""
