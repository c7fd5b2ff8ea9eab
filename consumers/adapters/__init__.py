"""Activates published adapters, as the tenant's policy says, and retires them after withdrawals."""
