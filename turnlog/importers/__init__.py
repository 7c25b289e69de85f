"""What other programs stored, read as conversations (a folder for each format), and brought into the log."""
