"""The tenant owns the weights: it gets them, with their manifest and the list of examples."""
