"""This is where a picture becomes features."""
