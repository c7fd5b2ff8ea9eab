"""What every part of the contract is made of: models, identifiers, numbers, timestamps, canonical JSON."""
