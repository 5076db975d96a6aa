"""This is where the learning methods live, one a file."""
