"""Defines what is agreed with a tenant: policy, hyperparameters, legal holds."""
