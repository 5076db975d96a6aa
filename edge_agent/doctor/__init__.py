"""This is where help for the owner lies: what is wrong with the set-up or the pictures, and what to do."""
