"""The record: models, versions, aliases, stages, search, events. No I/O."""
