"""Conversions between messages and values of the domain, both ways, one module a resource."""
