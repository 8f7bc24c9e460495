"""The Hub asked: listings, metadata, bytes; the only place that uses its library."""
