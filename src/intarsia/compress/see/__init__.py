"""Sememe entanglement encoding: the layer, its head, its budget, and how they are computed."""
