"""Creates and removes texts, exports, replica records and purge records in a tenant's life."""
