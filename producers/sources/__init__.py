"""Imports examples from files of approvals."""
