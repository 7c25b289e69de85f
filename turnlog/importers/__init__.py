"""Importers: what other programs stored, read as conversations; one file for each format."""
