"""This is where a trained classifier is explained to its owner, as one page that needs no network."""
