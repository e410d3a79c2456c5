"""What this library and its peers do in the same situation: ``make peers``."""
