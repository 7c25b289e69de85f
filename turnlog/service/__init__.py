"""The HTTP service: Turnlog for those who are not in its process."""
