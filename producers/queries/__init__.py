"""What operators look at: reads, without opening an example's text."""
