"""The ``sano`` command: parses, calls, prints. Heavy imports wait inside the commands, so that it starts fast."""
