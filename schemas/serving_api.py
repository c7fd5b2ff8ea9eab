"""What the serving API has beside OpenAI's shapes."""

ADAPTER_HEADER = "X-Sano-Adapter"
"""A header of every answer that a model gave: the digest of the adapter that gave it, or ``base``."""
