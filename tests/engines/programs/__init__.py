"""Programs that the tests of the engines start."""
