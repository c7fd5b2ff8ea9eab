"""What each tenant used, kept under its own prefix; and the owner of topics that nobody else reads yet."""
