"""The sessions of Taskerino: the collection and the layout in chunks."""
