"""Chunk stores: `local` keeps chunks in a directory, `s3` in a bucket.

Import the adapter's own module: the S3 driver takes a while to load and not everyone needs it.
"""
