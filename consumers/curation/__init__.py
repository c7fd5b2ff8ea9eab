"""Turns reviewers' decisions and consents into sealed records, which decide what may be trained on."""
