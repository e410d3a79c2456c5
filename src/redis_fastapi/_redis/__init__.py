"""What is stored in Redis, and how commands reach it."""
