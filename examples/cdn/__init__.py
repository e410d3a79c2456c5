"""A CDN in front: it keeps answers longer than browsers do, and is told by name what to drop."""
