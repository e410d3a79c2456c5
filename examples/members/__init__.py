"""An API behind authentication: responses for one user, for one team, and for all members."""
