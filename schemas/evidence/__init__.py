"""What is signed or chained: in-toto statements and audit entries."""
