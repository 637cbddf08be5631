"""The data that travels with the package, and the script that made it."""
