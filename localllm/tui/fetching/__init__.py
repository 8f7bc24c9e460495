"""Downloads: what is asked before, what is seen meanwhile, and what goes on behind the screens."""
