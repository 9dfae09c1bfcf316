"""Classification by a chat model that has seen no training data."""
