"""Serves the HTTP routes, in OpenAI's shapes."""
