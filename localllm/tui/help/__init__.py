"""Help: what a place is for, the keys that work now, and what the words mean."""
