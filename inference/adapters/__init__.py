"""Manages a replica's adapters: fetches and checks them, loads on demand, unloads when idle, evicts for good."""
