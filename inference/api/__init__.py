"""The HTTP routes, in OpenAI's shapes."""
