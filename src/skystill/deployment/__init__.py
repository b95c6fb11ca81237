"""From weights to a file that runs elsewhere."""
