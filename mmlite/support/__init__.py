"""What every other part leans on: checks of arguments, random states, what an object holds."""
