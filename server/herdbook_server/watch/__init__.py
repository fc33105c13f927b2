"""Who watches what: the hub follows the record and tells watchers.

The fleet knows what replicas serve. No I/O.
"""
