"""What publishes: the import of approvals and the operators' commands. `sano` is their command line."""
