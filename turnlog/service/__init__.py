"""Turnlog over HTTP: the library's semantics, with thin routes over the store and the queries."""
