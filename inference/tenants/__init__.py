"""From a verified tenant to what it may ask for: binding, admission, usage."""
