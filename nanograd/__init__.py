"""Arrays, layers and their gradients; knows nothing of text."""
