"""All routes of an application, and which entries its requests read and evict."""
