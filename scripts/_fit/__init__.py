"""Public speed measurements as values of the core, and the fit of the speed model to them."""
