"""SOQL checked against two judges that share no code with the compiler: Python over the same rows, and another parser."""
