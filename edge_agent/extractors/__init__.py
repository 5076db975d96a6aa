"""This is where the embedded extractor and its model card lie."""
