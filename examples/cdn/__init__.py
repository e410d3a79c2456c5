"""A CDN in front: it keeps responses longer than browsers do, and is purged by name."""
