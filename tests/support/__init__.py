"""Services that tests need, and ways to wait for them."""
