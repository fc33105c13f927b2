"""The service on the wire: servicers, conversions, statuses and what surrounds every call."""
