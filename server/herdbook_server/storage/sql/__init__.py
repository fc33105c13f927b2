"""The record in SQL: one set of statements over SQLite and PostgreSQL."""
