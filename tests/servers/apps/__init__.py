"""The applications that the servers run, and what they log."""
