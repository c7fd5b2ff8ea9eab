"""Publishes events: imports of approvals, and operators' commands. `sano` is the command line."""

from tenancy.platform.collecting import collect_seldom

collect_seldom()  # before anything large is imported
