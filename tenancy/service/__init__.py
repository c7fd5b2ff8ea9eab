"""What every long-running process of ours needs: telemetry, periodic work, a bounded HTTP server."""
