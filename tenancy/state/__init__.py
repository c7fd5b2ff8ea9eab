"""The one object per tenant that is changed by compare-and-swap, and the pure changes of it."""
