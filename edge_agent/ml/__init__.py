"""This is where the Core ML and Create ML families live: pure learning, no daemon and no plugins."""
