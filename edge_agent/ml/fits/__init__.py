"""This is where the ways to train a head in iterations are listed."""
