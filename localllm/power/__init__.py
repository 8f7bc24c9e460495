"""Power meters of this machine: one file for each kind, and the thread that reads them."""
