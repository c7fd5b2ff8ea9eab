"""Publishes events: imports of approvals, and operators' commands. `sano` is the command line."""
