"""Turns FHIR resources into candidates and consents: from files, and from a server's notifications."""
