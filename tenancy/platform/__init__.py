"""Provides what a process runs on: settings, clock, threads, AWS clients, traces."""
