"""What an extract will do, decided before the first row is requested."""
