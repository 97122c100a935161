"""The loops in C for the CPU, and their border with Python: see README.md beside this file."""
