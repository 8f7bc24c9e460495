"""The terminal UI: screens over the session. It decides nothing about placement or speed."""
