"""The desired state of one thing: planned from one question, changed by actions that are data."""
