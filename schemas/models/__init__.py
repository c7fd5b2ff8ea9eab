"""What the files of models and adapters may hold, read without a tensor library."""
