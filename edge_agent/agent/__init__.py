"""This is where the daemon lives."""
