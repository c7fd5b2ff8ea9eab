"""The review page: reviewers decide on proposed examples in a browser, and compliance sees what became of them."""
