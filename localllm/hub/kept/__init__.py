"""What is kept on this machine: the shared cache, other tools' folders, removal, checking."""
