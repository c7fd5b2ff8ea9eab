"""Reviewers' decisions and consents become sealed records that decide what may be trained on."""
