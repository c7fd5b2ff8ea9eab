"""Names what the serving API adds to OpenAI's shapes."""

ADAPTER_HEADER = "X-Sano-Adapter"
"""Header of every model answer: the digest of the adapter that answered, or ``base``."""
