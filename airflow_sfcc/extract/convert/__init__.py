"""Result pages to typed Arrow batches, and batches to part files."""
