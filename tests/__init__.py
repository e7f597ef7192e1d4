"""Tests of the built libraries and of the Python package."""
