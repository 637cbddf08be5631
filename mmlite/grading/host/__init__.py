"""The trusted side of grading: it holds the references and the marks, and runs no answer."""
