"""Turns texts into vectors for search: the port, a model in this process, and a service that is asked."""
