"""What an application holds while it runs."""
