"""What persisting tells of its work: log messages and spans."""
