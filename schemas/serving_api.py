"""Names what the serving API adds to OpenAI's shapes."""

ADAPTER_HEADER = "X-Sano-Adapter"
"""Header of every model answer: the digest of the adapter that answered, or ``base``."""

CONVERSATION_HEADER = "X-Sano-Conversation"
"""Header of a request: any text that is the same for all requests of one conversation, so that one adapter answers them
all while there is a canary. Nothing is kept of it.
"""
