"""Provides what every long-running process needs: telemetry, periodic work, a bounded HTTP server."""
