"""This is where what must survive is kept."""
