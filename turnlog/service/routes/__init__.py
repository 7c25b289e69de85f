"""The routes, one module for each noun. They are thin: the store and the queries do the work."""
