"""Headers of files on a server, read by range and kept."""
