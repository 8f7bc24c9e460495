"""What is said to a person in the same words by every shell: text from values, nothing drawn."""
