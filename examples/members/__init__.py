"""An API behind a sign-in: answers of one user, of one team, and the same for all members."""
