"""Changes each tenant's one state object by compare-and-swap, and defines its pure changes."""
