"""The pure core: values and formulas, standard library only, no I/O, no clock, no globals."""
