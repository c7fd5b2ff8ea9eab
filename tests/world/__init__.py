"""The whole system in one process, on fakes, with a bus that a test delivers by hand and effects that can kill."""
