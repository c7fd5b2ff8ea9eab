"""A tenant's retrieval: its documents, the segments that index them, and the search over them."""
