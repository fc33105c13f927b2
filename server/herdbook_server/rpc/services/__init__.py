"""Servicers, one a service: from the wire to the domain and back, and no more."""
